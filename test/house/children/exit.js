import { matmul } from 'layerpeel';
import { zeros } from '../zeros.js';

const endless = () => matmul(zeros(6000), zeros(6000), { onProgress() {} });
const ways = {
  now() {
    for (let i = 0; i < 5; i++) endless();
    setTimeout(() => process.exit(5), 10);
  },
  inside() {
    matmul(zeros(300), zeros(300)).then(() => process.exit(6));
    endless();
  },
  natural() {
    matmul(zeros(1000), zeros(1000)).then(() => console.log('done'));
  },
  throw() {
    endless();
    setTimeout(() => {
      throw new Error('out of the blue');
    }, 10);
  },
  wait() {
    endless();
    console.log('running');
  },
};

ways[process.argv[2]]();
