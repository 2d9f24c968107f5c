// Whether a Linux addon loads wherever Node.js 20 does: it may ask for glibc 2.28 at most and for no C++ library, and
// shows nothing but its entry points.
import { execFileSync } from 'node:child_process';

const newestGlibc = 28;

/** Throws with the symbols at fault; a new one of glibc's wants a line in native/addon/portable/glibc.cpp. */
export function checkPortable(file, objdump = 'objdump') {
  const symbols = execFileSync(objdump, ['-T', file], { encoding: 'utf8' }).split('\n');
  const tooNew = symbols.filter(
    (line) => /\(GLIBCXX_|\(CXXABI_/.test(line) || Number(/\(GLIBC_2\.(\d+)/.exec(line)?.[1]) > newestGlibc,
  );
  const shown = symbols.filter((line) => / g .*\.text/.test(line) && !/ (napi|node_api)_\w+$/.test(line));
  if (tooNew.length) throw new Error(`${file} asks for more than glibc 2.${newestGlibc}:\n${tooNew.join('\n')}`);
  if (shown.length) throw new Error(`${file} shows more than its entry points:\n${shown.join('\n')}`);
}
