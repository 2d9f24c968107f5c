/**
 * Python's pickles, which are programs: a stack machine that builds values here and nothing else. What a pickle names (globals, calls,
 * persistent names) is never looked up or run; its reader says what each of them stands for, and refuses all others.
 * Opcodes: pickletools.py of CPython; those of protocol 2 on that data needs, of which PyTorch writes protocol 2.
 */
import type { LayerpeelError } from '../check/errors.js';
import { fileFault } from './stored.js';

/** A list or a set. A tuple is an array, None null, bytes a Uint8Array. */
export class List {
  readonly items: unknown[] = [];
}

export class Dictionary {
  readonly entries: (readonly [key: unknown, value: unknown])[] = [];
}

/** What a pickle's names mean to its reader; each of these throws for what is refused. */
export interface Meaning {
  /** `collections.OrderedDict`, as module and name. */
  global(path: string): unknown;
  call(what: unknown, args: readonly unknown[]): unknown;
  /** What an object becomes when it is given its state. */
  build(object: unknown, state: unknown): unknown;
  /** An object that is kept beside the pickle. */
  persistent(id: unknown): unknown;
  /** The error for what would run code: `make an object (NEWOBJ)`. */
  refused(wish: string): LayerpeelError;
}

/** Thrown where the bytes end before the pickle does. */
export class CutOff extends Error {}

/** Opcodes of one pickle: each makes a value of a hundred bytes at most, beside the bytes of its text. */
const MOST_STEPS = 2 ** 21;

/** Opcodes that run code, or ask what only running it can tell. */
const RUNNING: Readonly<Record<number, string>> = {
  80: 'look up an object by its name (PERSID)',
  105: 'make an object (INST)',
  111: 'make an object (OBJ)',
  129: 'make an object (NEWOBJ)',
  130: "use Python's registry of extensions (EXT1)",
  131: "use Python's registry of extensions (EXT2)",
  132: "use Python's registry of extensions (EXT4)",
  146: 'make an object (NEWOBJ_EX)',
};

/** The value that the pickle at `start` builds, and where it ends. @throws CutOff */
export function unpickle(bytes: Uint8Array, start: number, meaning: Meaning, where: string): { value: unknown; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const stack: unknown[] = [];
  /** Heights of the stack where a MARK stands. */
  const marks: number[] = [];
  const memo = new Map<number, unknown>();
  let at = start;

  const malformed = (fault: string) => fileFault(where, `its pickle is malformed: ${fault} at byte ${at}.`);
  /** Where the next bytes stand. */
  const take = (count: number): number => {
    if (count > bytes.length - at) throw new CutOff();
    at += count;
    return at - count;
  };
  const bytesOf = (count: number): Uint8Array => bytes.subarray(take(count), at);
  const text = (count: number): string => {
    const { buffer, byteOffset, length } = bytesOf(count);
    return Buffer.from(buffer, byteOffset, length).toString();
  };
  const line = (): string => {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) throw new CutOff();
    const read = text(end - at);
    at++;
    return read;
  };
  const byte = (): number => view.getUint8(take(1));
  const length4 = (): number => view.getUint32(take(4), true);
  const length8 = (): number => Number(view.getBigUint64(take(8), true));
  const checkHeight = (): void => {
    if (stack.length <= (marks.at(-1) ?? 0)) throw malformed('its stack is empty');
  };
  const pop = (): unknown => {
    checkHeight();
    return stack.pop();
  };
  const top = (): unknown => {
    checkHeight();
    return stack.at(-1);
  };
  const popMark = (): unknown[] => {
    const mark = marks.pop();
    if (mark === undefined) throw malformed('it has no mark');
    return stack.splice(mark);
  };
  const tuple = (count: number): void => {
    if (stack.length - count < (marks.at(-1) ?? 0)) throw malformed('its stack is empty');
    stack.push(stack.splice(stack.length - count));
  };
  const append = (items: readonly unknown[]): void => {
    const list = top();
    if (!(list instanceof List)) throw malformed('it appends to what is no list');
    for (const item of items) list.items.push(item);
  };
  const enter = (items: readonly unknown[]): void => {
    const dictionary = top();
    if (!(dictionary instanceof Dictionary)) throw malformed('it sets an entry of what is no dictionary');
    if (items.length % 2 !== 0) throw malformed('a key has no value');
    for (let i = 0; i < items.length; i += 2) dictionary.entries.push([items[i], items[i + 1]]);
  };
  const global = (module: unknown, name: unknown): void => {
    if (typeof module !== 'string' || typeof name !== 'string') throw malformed('a global is named by no text');
    // What Python 2 called so, which protocol 2 keeps.
    stack.push(meaning.global(`${module === '__builtin__' ? 'builtins' : module}.${name}`));
  };
  const recall = (index: number): void => {
    const value = memo.get(index);
    if (value === undefined) throw malformed(`entry ${index} of its memo is missing`);
    stack.push(value);
  };

  for (let steps = 0; ; steps++) {
    if (steps === MOST_STEPS)
      throw fileFault(where, `its pickle has more than ${MOST_STEPS} opcodes; expected less beside tensors.`);
    const code = byte();
    switch (code) {
      case 0x80: // PROTO
        if (byte() > 5) throw malformed('it is of an unknown protocol');
        break;
      case 0x95: // FRAME
        take(8);
        break;
      case 0x2e: // STOP
        return { value: pop(), end: at };
      // The stack and the memo
      case 0x28: // MARK
        marks.push(stack.length);
        break;
      case 0x30: // POP
        pop();
        break;
      case 0x31: // POP_MARK
        popMark();
        break;
      case 0x32: // DUP
        stack.push(top());
        break;
      case 0x71: // BINPUT
        memo.set(byte(), top());
        break;
      case 0x72: // LONG_BINPUT
        memo.set(length4(), top());
        break;
      case 0x94: // MEMOIZE
        memo.set(memo.size, top());
        break;
      case 0x68: // BINGET
        recall(byte());
        break;
      case 0x6a: // LONG_BINGET
        recall(length4());
        break;
      // Values
      case 0x4e: // NONE
        stack.push(null);
        break;
      case 0x88: // NEWTRUE
        stack.push(true);
        break;
      case 0x89: // NEWFALSE
        stack.push(false);
        break;
      case 0x4a: // BININT
        stack.push(view.getInt32(take(4), true));
        break;
      case 0x4b: // BININT1
        stack.push(byte());
        break;
      case 0x4d: // BININT2
        stack.push(view.getUint16(take(2), true));
        break;
      case 0x8a: // LONG1
        stack.push(integer(bytesOf(byte())));
        break;
      case 0x47: // BINFLOAT
        stack.push(view.getFloat64(take(8)));
        break;
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING, Python 2's
        stack.push(text(byte()));
        break;
      case 0x58: // BINUNICODE
      case 0x54: // BINSTRING
        stack.push(text(length4()));
        break;
      case 0x8d: // BINUNICODE8
        stack.push(text(length8()));
        break;
      case 0x43: // SHORT_BINBYTES
        stack.push(bytesOf(byte()));
        break;
      case 0x42: // BINBYTES
        stack.push(bytesOf(length4()));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        stack.push(bytesOf(length8()));
        break;
      // Containers
      case 0x29: // EMPTY_TUPLE
        tuple(0);
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        tuple(code - 0x84);
        break;
      case 0x74: // TUPLE
        stack.push(popMark());
        break;
      case 0x5d: // EMPTY_LIST
      case 0x8f: // EMPTY_SET
        stack.push(new List());
        break;
      case 0x91: {
        // FROZENSET
        const items = popMark();
        stack.push(new List());
        append(items);
        break;
      }
      case 0x61: // APPEND
        append([pop()]);
        break;
      case 0x65: // APPENDS
      case 0x90: // ADDITEMS
        append(popMark());
        break;
      case 0x7d: // EMPTY_DICT
        stack.push(new Dictionary());
        break;
      case 0x73: {
        // SETITEM
        const value = pop();
        enter([pop(), value]);
        break;
      }
      case 0x75: // SETITEMS
        enter(popMark());
        break;
      // What others are to give a meaning
      case 0x63: // GLOBAL
        global(line(), line());
        break;
      case 0x93: {
        // STACK_GLOBAL
        const name = pop();
        global(pop(), name);
        break;
      }
      case 0x52: {
        // REDUCE
        const args = pop();
        if (!Array.isArray(args)) throw malformed('it calls with what is no tuple');
        stack.push(meaning.call(pop(), args));
        break;
      }
      case 0x62: {
        // BUILD
        const state = pop();
        stack.push(meaning.build(pop(), state));
        break;
      }
      case 0x51: // BINPERSID
        stack.push(meaning.persistent(pop()));
        break;
      default: {
        if (code === 0x69) meaning.global(`${line()}.${line()}`);
        const wish = RUNNING[code];
        if (wish !== undefined) throw meaning.refused(wish);
        throw malformed(`the opcode 0x${code.toString(16).padStart(2, '0')}, which data of protocol 2 to 5 does not need, stands`);
      }
    }
  }
}

/** A two's complement, little-endian: a number where it is exact as one. */
function integer(bytes: Uint8Array): number | bigint {
  let value = 0n;
  for (const byte of bytes.toReversed()) value = (value << 8n) | BigInt(byte);
  value = BigInt.asIntN(8 * bytes.length, value);
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
