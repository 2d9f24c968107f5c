// Every statement of the papers that an experiment sets beside a measurement holds. Figures are not drawn here.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { experiments } from '../../lib/experiments/index.js';

const folder = {
  metrics: async () => {},
  array: async () => {},
  figure: async (name) => ({ name, svg: '', caption: '' }),
};

// UL Fig. 1 has a test of its own; UL Fig. 9 takes ten times as long as the others and is left to `reproduce`.
for (const { id, run } of experiments.filter((each) => !['ul-fig1', 'ul-fig9'].includes(each.id))) {
  test(id, async () => {
    const { verdicts } = await run({ signal: new AbortController().signal, progress: () => {}, folder });
    assert.ok(verdicts.length >= 5);
    for (const { claim, paper, measured, holds } of verdicts) assert.ok(holds, `${claim}: ${paper}, but ${measured} was measured`);
  });
}

test.run();
