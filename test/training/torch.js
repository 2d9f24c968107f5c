// A suite of tests that need libtorch: where it is missing they are left out with a printed reason, under CI they fail.
import { torchState } from 'layerpeel/torch';
import { suite } from 'uvu';
import { sanitized } from '../process.js';

export function torchSuite(name) {
  const tests = suite(name);
  const { usable, statement } = sanitized ? {} : torchState();
  if (usable) return tests;
  if (process.env.CI && !sanitized) {
    tests('libtorch is there', () => {
      throw new Error(statement);
    });
  } else {
    console.log(`${name}: left out, ${sanitized ? 'libtorch is not instrumented' : statement}`);
  }
  return Object.assign(() => {}, { run: tests.run });
}
