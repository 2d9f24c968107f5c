/**
 * What the first bytes of a file say it is, where it is not what was expected: the files that people have in its place.
 */

interface Kind {
  readonly begins: RegExp | readonly string[];
  /** Follows the name of the file: what it is, and what to do. */
  readonly words: string;
}

/** The member of a zip that only PyTorch's have: their pickle. */
export const PICKLE = /^[^/]+\/data\.pkl$/;
/** The beginnings of PyTorch's older files: a pickle of 0x1950a86a20f9469cfc6c in the protocols 2 to 5, in a frame from 4 on. */
export const LEGACY = ['\x80\x02', '\x80\x03', '\x80\x04\x95\r\0\0\0\0\0\0\0', '\x80\x05\x95\r\0\0\0\0\0\0\0'].map(
  (protocol) => `${protocol}\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.`,
);
export const PYTORCH = 'it is a file of PyTorch (torch.save); name it .pth';

/** Beginnings as Latin-1. */
const KINDS: readonly Kind[] = [
  { begins: ['\x1f\x8b'], words: 'it is compressed by gzip; decompress it (gunzip)' },
  { begins: ['\x93NUMPY'], words: 'it is a .npy file; name it so' },
  { begins: /^PK[\s\S]{28}[^/]+\/data\.pkl/, words: PYTORCH },
  { begins: LEGACY, words: PYTORCH },
  { begins: ['PK\x03\x04'], words: 'it is a zip, as .npz files are; name it .npz if numpy.savez wrote it' },
  { begins: ['\x89HDF\r\n\x1a\n'], words: 'it is HDF5; save its arrays with numpy.savez' },
  {
    begins: ['\x80\x02', '\x80\x03', '\x80\x04', '\x80\x05'],
    words: 'it is a pickle, which is never loaded; save its arrays with numpy.savez',
  },
  {
    begins: /^\s*<(!doctype|html|head|body|\?xml)/i,
    words: 'it is a page of HTML, as a download that failed leaves; fetch it again',
  },
  { begins: ['version http'], words: 'it is a pointer of Git LFS; fetch the file itself (git lfs pull)' },
  { begins: ['BZh'], words: 'it is compressed by bzip2; decompress it (bunzip2)' },
  { begins: ['\xfd7zXZ\0'], words: 'it is compressed by xz; decompress it (unxz)' },
  { begins: ['(\xb5/\xfd'], words: 'it is compressed by Zstandard; decompress it (unzstd)' },
  {
    begins: /^\d+(\.\d*)?(e[-+]\d+)?[,;\t ]\s*-?\d/i,
    words: 'it is text; read it with numpy.loadtxt and save that with numpy.save',
  },
];

/** How many bytes are enough: the first member of a zip has its name among them. */
export const LOOKED_AT = 320;

/** The sentence's part that says what the file is, if it is something known. */
export function kindOf(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return 'it is empty';
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(LOOKED_AT, bytes.length)).toString('latin1');
  return KINDS.find(({ begins }) => (begins instanceof RegExp ? begins.test(text) : begins.some((one) => text.startsWith(one))))
    ?.words;
}
