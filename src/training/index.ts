/// <reference types="node" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * `layerpeel/torch`: training of networks through libtorch. Importing it needs nothing; using it throws `LP_NOT_BUILT` until
 * `npx layerpeel torch install` has run.
 */
export { type ByClass, type ClassMeasure, classMeasures } from './by-class.js';
export type {
  DataFiles,
  DataSets,
  Optimizer,
  OutOfDistribution,
  TrainingConfig,
  TrainingLoss,
  WeightDecays,
} from './config.js';
export { type InstallOptions, installTorch } from './install.js';
export { findLibtorch, type Libtorch } from './libtorch.js';
export { type Classifier, type Head, type Model, modelKinds, type Weights } from './models.js';
export {
  type FeaturesPart,
  type Network,
  type OutputsOptions,
  type OutputsPart,
  outputs,
  type Pretrained,
  readNetwork,
} from './outputs.js';
export { type TorchState, torchState } from './state.js';
export { type Epoch, type NetworkOutput, type TrainOptions, train } from './train.js';
export { torchWeights } from './weights.js';
