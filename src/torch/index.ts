/**
 * `layerpeel/torch`: training of networks through libtorch. Importing it needs nothing; using it throws `LP_NOT_BUILT` until
 * `npx layerpeel torch install` has run.
 */
export { findLibtorch, type Libtorch } from './find.js';
export { type InstallOptions, installTorch } from './install.js';
export { type TorchState, torchState } from './state.js';
