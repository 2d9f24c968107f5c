/** What of an image is wanted: all of it, or a part, at a size. */
export type Size = readonly [height: number, width: number];

/** What of an image is decoded: it as it is, which must have this size if one is said, or what it is made. */
export type View = { readonly size?: Size | undefined } | { readonly cut: Cut };

export interface Box {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** What an image of a size is made: cut to a box, resized, cut again. */
export type Cut = (size: Size) => {
  readonly from?: Box | undefined;
  readonly size: Size;
  /** @default 'lanczos3' */
  readonly kernel?: 'linear' | undefined;
  readonly box?: Box | undefined;
};

/** Stretches every image to one size. */
export const stretched = (size: Size): View => ({ cut: () => ({ size }) });
