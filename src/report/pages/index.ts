/// <reference types="node" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * `layerpeel/report`: the reports that the command line writes, made of results. A page is a plain object, its figures Vega-Lite
 * specifications; `renderReport` makes one HTML file of it.
 */
export { renderSvg, type Spec } from '../figure.js';
export {
  type Cell,
  type Figure,
  type PageFigure,
  type Report,
  renderReport,
  type Section,
  type Table,
  type Verdict,
} from '../page.js';
export { type CollapseAbout, collapsePage } from './collapse.js';
export { type DescentEnd, type DescentResult, descentPage, type MeasuredDescent } from './descent.js';
export { type EvaluationAbout, evaluationPage } from './evaluation.js';
export { type MeasuredTrajectory, type SimulationAbout, type SimulationResult, simulationPage } from './simulation.js';
export { type TrainingAbout, type TrainingResult, trainingPage } from './training.js';
