// Every statement of the papers that an experiment sets beside a measurement holds. Figures are not drawn here.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { experiments } from '../../lib/experiments/index.js';

const folder = {
  metrics: async () => {},
  array: async () => {},
  figure: async (name) => ({ name, svg: '', caption: '' }),
};

// What is measured to be otherwise, and why: see the files of the experiments.
const departures = {
  // It falls, but up to t = 10²⁸⁹ more slowly than the other measures do.
  'lp-fig2': ['Within-class variation, features: about 1/log t'],
  // Every set of prototypes at the bound that adds up to nothing attains the minimum.
  'ul-losses': ['Lemma 1: the minimum is attained at a simplex ETF alone'],
};

// UL Fig. 1 has a test of its own; UL Fig. 9 takes ten times as long as the others and is left to `reproduce`.
for (const { id, run } of experiments.filter((each) => !['ul-fig1', 'ul-fig9'].includes(each.id))) {
  test(id, async () => {
    const { verdicts } = await run({ signal: new AbortController().signal, progress: () => {}, folder });
    assert.ok(verdicts.length >= 4);
    for (const { claim, paper, measured, holds } of verdicts) {
      const expected = !departures[id]?.some((start) => claim.startsWith(start));
      assert.is(holds, expected, `${claim}: ${paper}, but ${measured} was measured`);
    }
  });
}

test.run();
