// Every measure against the golden cases.
import { collapse, collapseSync } from 'layerpeel';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { golden, stateOf } from '../helpers.js';

const inputs = ['counts', 'labels', 'features', 'prototypes', 'biases'];

for (const [index, given] of golden('collapse').entries()) {
  test(`golden case ${index}`, async () => {
    const state = stateOf(given);
    const names = Object.keys(given).filter((name) => !inputs.includes(name));
    for (const result of [collapseSync(state), await collapse(state)]) {
      for (const name of names) {
        assert.ok(Math.abs(result[name] - given[name]) <= 1e-10, `${name} is ${result[name]}, not ${given[name]}`);
      }
    }
  });
}

test.run();
