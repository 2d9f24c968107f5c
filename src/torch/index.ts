/**
 * `layerpeel/torch`: training of networks through libtorch. Importing it needs nothing; using it throws `LP_NOT_BUILT` until
 * `npx layerpeel torch install` has run.
 */
export type {
  DataFiles,
  DataSets,
  Optimizer,
  TrainingConfig,
  TrainingLoss,
  WeightDecays,
} from '../training/config.js';
export { type Classifier, type Head, type Model, modelKinds } from '../training/models.js';
export { type Epoch, type NetworkOutput, type TrainOptions, train } from '../training/train.js';
export { findLibtorch, type Libtorch } from './find.js';
export { type InstallOptions, installTorch } from './install.js';
export { type TorchState, torchState } from './state.js';
