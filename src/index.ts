/// <reference types="node" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
// Arrays

export {
  Device,
  DeviceArray,
  type DeviceName,
  type DeviceOptions,
  type DeviceState,
  openDevice,
  type Precision,
  type PrecisionOptions,
} from './array/device.js';
export { type Content, writeFileAtomic } from './array/files.js';
// Kernels
export { type MatmulOptions, matmul, matmulSync } from './array/matmul.js';
export type { DType, Float, NDArray, State } from './array/ndarray.js';
export { formatNpy, parseNpy, readNpy, writeNpy } from './array/npy.js';
export { type ReadNpzOptions, readNpz, type WriteNpzOptions, writeNpz } from './array/npz.js';
export { type ArraySource, openArray, type ReadArrayOptions, readArray, readFloats, readLabels } from './array/open.js';
export { type PyTorchTensors, readPth } from './array/pth.js';
// Random numbers
export { type SeededRandom, seededRandom } from './array/random.js';
export { formatSafetensors, parseSafetensors, readSafetensors, type Tensors, writeSafetensors } from './array/safetensors.js';
export type { AnyArray, BigIntArray, IntArray } from './array/stored.js';
export type { Control } from './check/control.js';
// Errors
export { type ErrorCode, LayerpeelError, OverflowError } from './check/errors.js';
// Collapse
export {
  type Collapse,
  type CollapseDetails,
  type CollapseInput,
  type CollapseOptions,
  type CollapseReference,
  collapse,
  collapseSync,
  type FeatureSource,
} from './collapse/collapse.js';
export { type CollapseMeasure, collapseMeasures, type MeasureInfo, type PrototypeMeasure } from './collapse/measures.js';
// Data
export {
  type Augmentation,
  type Augmented,
  type AugmentOptions,
  augment,
  augmentSync,
  type ChannelStatistics,
  channelStatistics,
  channelStatisticsSync,
} from './data/augment.js';
export { fitImages } from './data/fit.js';
export { type AnyImages, classCounts, type ImageFiles, type ImageSet, imageSubset, joinImages } from './data/images.js';
export { longTailedCounts, stepCounts } from './data/imbalance.js';
export { type ImageSource, loadImages, streamImages } from './data/load.js';
export { imbalancedIndices, noisyLabels, type Selected, type Selection, selectImages } from './data/subsets.js';
export {
  type CrossEntropyFlowOptions,
  type CrossEntropyTrajectory,
  crossEntropyFlow,
  crossEntropyFlowSync,
} from './dynamics/cross-entropy.js';
export { type GradientDescentOptions, gradientDescent, gradientDescentSync } from './dynamics/descent.js';
export {
  type AnchoredFlowOptions,
  anchoredFlow,
  anchoredFlowSync,
  type GradientFlowOptions,
  gradientFlow,
  gradientFlowSync,
} from './dynamics/flow.js';
export { type IteratedDescentOptions, iteratedDescent, iteratedDescentSync } from './dynamics/iterated.js';
export { type KernelOptions, kernelFlow, kernelFlowSync } from './dynamics/kernel.js';
export { type Products, type ProductsOptions, structuredProducts, structuredProductsSync } from './dynamics/products.js';
export {
  batchedDescent,
  type Constraint,
  type DescentColumns,
  type DescentMeasure,
  type DescentProblem,
  descentMeasures,
  type ProjectedDescentOptions,
  projectedDescent,
  projectedDescentSync,
  type Snapshot,
} from './dynamics/projected.js';
export { type Part, type Parts, spectralProjections, spectralProjectionsSync } from './dynamics/projections.js';
export type { Rate, Schedule } from './dynamics/rates.js';
export {
  type SphericalLimit,
  type SphericalOptions,
  type SphericalTrajectory,
  sphericalDescent,
  sphericalDescentSync,
} from './dynamics/spherical.js';
export {
  type Direction,
  type Limit,
  logMeasures,
  type MeasureName,
  marginMeasures,
  type Regime,
  type ScaledDirection,
  type Trajectory,
  type TrajectoryEvent,
  type TrajectoryMeasure,
  trajectoryMeasures,
} from './dynamics/trajectory.js';
// Evaluation
export type { Accuracies, Group, GroupLimits, Groups } from './evaluation/accuracy.js';
export type { Interval } from './evaluation/bootstrap.js';
export {
  type Calibration,
  type CalibrationOptions,
  calibration,
  calibrationSync,
  fitTemperature,
  fitTemperatureSync,
  type Reliability,
  type TemperatureFit,
} from './evaluation/calibration.js';
export { type Classifier, classifierLogits, classifierLogitsSync, type DecisionOptions } from './evaluation/decision.js';
export {
  type Detection,
  type DetectionOptions,
  detection,
  type Positive,
  type ScoreHistogram,
} from './evaluation/detection.js';
export {
  type Decision,
  type DecisionRule,
  type Decisions,
  type Evaluation,
  type EvaluationOptions,
  evaluate,
  evaluateSync,
  type ScoreEvaluation,
  type ScoreEvaluations,
  type ScoreMeans,
  type ScoreName,
  type SetEvaluation,
} from './evaluation/evaluate.js';
export type { Distance, EvaluationInput, OutOfDistributionArrays, OutOfDistributionSet } from './evaluation/files.js';
export {
  logitAdjustment,
  logitAdjustmentSync,
  nearestClassMean,
  nearestClassMeanSync,
  type TauOptions,
  tauNormalization,
  tauNormalizationSync,
} from './evaluation/imbalanced.js';
export {
  outOfDistributionScores,
  outOfDistributionScoresSync,
  type ScoreInput,
  type ScoreOptions,
  type Scores,
  type TrainedScoreOptions,
} from './evaluation/scores.js';
export type { TrainingSet } from './evaluation/trained.js';
// Layer-peeled model with cross-entropy
export { type CurvatureOptions, type TangentCurvature, tangentCurvature, tangentCurvatureSync } from './losses/curvature.js';
// Losses
export {
  type GradientShares,
  type GradientSharesOptions,
  gradientShares,
  gradientSharesSync,
} from './losses/gradient-shares.js';
export {
  type DotRegression,
  type Loss,
  type LossAndGradient,
  type LossOptions,
  type LossSetting,
  lossAndGradient,
  lossAndGradientSync,
  lossKinds,
  type PerClass,
  type Regularization,
} from './losses/losses.js';
export {
  type CertificateOptions,
  type KktCertificate,
  kktCertificate,
  kktCertificateSync,
  type Margins,
  margins,
  marginsSync,
} from './losses/margins.js';
// Dynamics
export { type DescentCheckpoint, loadCheckpoint, saveCheckpoint } from './state/checkpoint.js';
export { type RandomStateOptions, randomState } from './state/random-state.js';
// Studies
export type { Crossing } from './study/boundary.js';
export type { Boundary, Entries, StudyConfig } from './study/config.js';
export { type StudyOptions, type StudyResult, study } from './study/study.js';
export type { Layout, RunRow, RunStatus, StudyTable, Summary, TableCell } from './study/table.js';
// Frames
export {
  balancedLengths,
  type Contraction,
  type ContractionOptions,
  contraction,
  type Energies,
  etfOptimum,
} from './theory/fixed-etf.js';
export { saddleExample } from './theory/saddle-example.js';
export { type SimplexOptions, simplexETF } from './theory/simplex-etf.js';
export {
  correctBelow,
  type NormBounds,
  type UpperBoundOptions,
  type UpperBounds,
  unhingedBounds,
  unhingedBoundsSync,
  unhingedMinimum,
} from './theory/unhinged-bounds.js';
