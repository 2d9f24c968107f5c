// Opens a device, computes there and reads the result; prints it, or the code and the sentence of what is thrown.
import { lossAndGradient, openDevice, randomState } from 'layerpeel';

const plain = randomState({ classes: 4, perClass: 11, dim: 6, seed: 5 });
try {
  const gpu = await openDevice('cuda');
  const state = { ...plain, features: await gpu.put(plain.features), prototypes: await gpu.put(plain.prototypes) };
  const { value, features } = await lossAndGradient({ kind: 'cross-entropy' }, state);
  console.log(JSON.stringify({ value, features: Array.from((await features.read()).data) }));
} catch ({ code, message }) {
  console.log(JSON.stringify({ code, message }));
}
