#!/usr/bin/env python3
"""Turns the PTX that nvcc made of kernels into C++ that runs on the emulated device, so that what is tested is what the
device's compiler made: its addresses, vector accesses, expansions of exp and log, inline assembly. Lines are those of the
.cu (nvcc -lineinfo). An instruction that is not known here is an error.

usage: ptx2cpp.py a.ptx a.cpp

Registers become variables of their own width; an operand is taken as the type that the instruction names (ptx::as). A
kernel is tied to the host's function of the same mangled name, whose address a launch names."""
import re
import sys

INTEGERS = {f'{kind}{bits}': f'{"int" if kind == "s" else "uint"}{bits}_t' for kind in 'usb' for bits in (8, 16, 32, 64)}
TYPES = {**INTEGERS, 'f32': 'float', 'f64': 'double'}
SPECIAL = {f'%{register}.{axis}': f'{name}.{axis}' for axis in 'xyz' for register, name in
           {'tid': 'threadIdx', 'ctaid': 'blockIdx', 'ntid': 'blockDim', 'nctaid': 'gridDim'}.items()}
SPECIAL['%laneid'] = 'uint32_t(emu::self().lane)'
COMPARISONS = {'eq': '==', 'ne': '!=', 'lt': '<', 'le': '<=', 'gt': '>', 'ge': '>=', 'lo': '<', 'ls': '<=', 'hi': '>',
               'hs': '>='}
OPERATORS = {'add': '+', 'sub': '-', 'mul': '*', 'and': '&', 'or': '|', 'xor': '^'}
ROUNDINGS = {'rm': 'FE_DOWNWARD', 'rp': 'FE_UPWARD', 'rz': 'FE_TOWARDZERO'}
TO_WHOLE = {'rni': 'std::nearbyint', 'rzi': 'std::trunc', 'rmi': 'std::floor', 'rpi': 'std::ceil'}
SPACES = {'global', 'shared', 'local', 'const', 'param'}
# What an access may say that changes nothing here: caches, and orders that are atomics' on the device.
HINTS = re.compile(r'nc|volatile|weak|relaxed|cg|cs|ca|lu|cv|wb|wt|cta|gpu|sys|global|shared(::cta)?|param(::func|::entry)?|'
                   r'const|local|v[248]|L1::\w+|L2::\w+')


class Unknown(Exception):
    pass


def only(mods, *known):
    """The modifiers, of which none may be unknown."""
    mods = set(mods)
    if extra := mods - set(known):
        raise Unknown(' '.join(sorted(extra)))
    return mods


def split(text, separator=','):
    """At the separators outside of brackets."""
    parts, depth, part = [], 0, ''
    for character in text:
        depth += (character in '{[(') - (character in '}])')
        if character == separator and depth == 0:
            parts.append(part.strip())
            part = ''
        else:
            part += character
    return [*parts, part.strip()] if part.strip() else parts


def items(text):
    return split(text.strip().removeprefix('{').removesuffix('}'))


class Module:
    """What the kernels of a file share."""

    def __init__(self, text):
        self.files = {n: name for n, name in re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]+)"', text, re.M)}
        self.text = re.sub(r'//[^\n]*', '', text)
        self.architecture = re.search(r'^\.target sm_(\d+)', text, re.M).group(1)
        self.constants, self.fixed, self.dynamic = {}, {}, {}
        for space, align, kind, name, count, values in re.findall(
                r'^\.(?:visible )?(const|global) \.align (\d+) \.(\w+) ([\w$]+)\[(\d+)\](?: = \{([^}]*)\})?;', self.text, re.M):
            self.constants[name] = f'alignas({align}) static {TYPES[kind]} c_{name}[{count}] = {{{values}}};'
        for align, name, bytes_ in re.findall(r'^\s*\.shared \.align (\d+) \.b8 ([\w$]+)\[(\d+)\];', self.text, re.M):
            self.fixed[name] = (int(align), int(bytes_))
        for align, name in re.findall(r'^\s*\.extern \.shared \.align (\d+) \.b8 ([\w$]+)\[\];', self.text, re.M):
            self.dynamic[name] = int(align)

    def functions(self):
        """(is a kernel, name, names of what it returns, parameters, directives, body) of each."""
        head = (r'^(?:\.visible |\.weak |\.extern )*\.(entry|func)\s+(?:\((.*?)\)\s*)?([\w$]+)\s*(?:\((.*?)\))?'
                r'([^{;]*)(;|\{\n(.*?)\n\}\n)')
        for match in re.finditer(head, self.text, re.M | re.S):
            kind, returned, name, parameters, directives, tail, body = match.groups()
            if tail != ';':
                yield kind == 'entry', name, self.names(returned), self.names(parameters), directives, body

    @staticmethod
    def names(declarations):
        return [re.search(r'([\w$]+)(?:\[\d+\])?$', one).group(1) for one in split(declarations or '')]


class Function:
    def __init__(self, module, kernel, name, returned, parameters, body):
        self.module, self.name = module, name
        self.types = {}  # of registers, by prefix or name
        self.shared, self.shared_bytes = {}, 0
        if kernel:
            self.parameters = {p: f'static_cast<char*>(parameters[{i}])' for i, p in enumerate(parameters)}
        else:
            self.parameters = {p: f'{p}' for p in [*returned, *parameters]}
        for symbol, (align, size) in module.fixed.items():
            if re.search(rf'\b{re.escape(symbol)}\b', body):
                self.shared_bytes = (self.shared_bytes + align - 1) // align * align
                self.shared[symbol] = self.shared_bytes
                self.shared_bytes += size
        for symbol, align in module.dynamic.items():
            self.shared_bytes = (self.shared_bytes + align - 1) // align * align if self.shared_bytes else 0
            self.shared[symbol] = self.shared_bytes

    # ---- operands

    def register(self, name):
        return name.replace('%', 'r_')

    def type_of(self, register):
        for key in (register, re.sub(r'\d+$', '', register)):
            if key in self.types:
                return self.types[key]
        raise Unknown(f'register {register}')

    def symbol(self, name):
        if name in self.shared:
            return f'uint64_t({self.shared[name]})'
        if name in self.module.constants:
            return f'reinterpret_cast<uint64_t>(c_{name})'
        if name in self.parameters:
            return f'reinterpret_cast<uint64_t>({self.parameters[name]})'
        if name.startswith('__local_depot'):
            return f'reinterpret_cast<uint64_t>({name})'
        raise Unknown(f'symbol {name}')

    def value(self, operand, t):
        """An operand, as a value of type t."""
        operand, type_ = operand.strip(), TYPES[t]
        if operand in SPECIAL:
            return f'ptx::as<{type_}>({SPECIAL[operand]})'
        if operand.startswith('%'):
            own = self.register(operand)
            return own if self.type_of(operand) == type_ else f'ptx::as<{type_}>({own})'
        if match := re.fullmatch(r'0[fF]([0-9A-Fa-f]{8})', operand):
            return f'ptx::as<{type_}>(uint32_t(0x{match.group(1)}u))'
        if match := re.fullmatch(r'0[dD]([0-9A-Fa-f]{16})', operand):
            return f'ptx::as<{type_}>(uint64_t(0x{match.group(1)}ull))'
        if re.fullmatch(r'-?(0[xX][0-9A-Fa-f]+|\d+)U?', operand):
            number = int(operand.rstrip('U'), 0)
            return f'ptx::as<{type_}>(uint64_t({number % 2 ** 64}ull))' if t[0] != 'f' else f'{type_}({number})'
        if match := re.fullmatch(r'([\w$]+)\+(\d+)', operand):
            return f'ptx::as<{type_}>({self.symbol(match.group(1))} + {match.group(2)})'
        return f'ptx::as<{type_}>({self.symbol(operand)})'

    def predicate(self, operand):
        operand = operand.strip()
        if operand.startswith('!'):
            return '!' + self.register(operand[1:])
        return {'0': 'false', '1': 'true', '-1': 'true'}.get(operand) or self.register(operand)

    def set(self, target, t, value):
        """target = value, which has type t."""
        target = target.strip()
        if target == '_':
            return f'{value};'
        type_, own = TYPES[t], self.type_of(target)
        if own == type_:
            return f'{self.register(target)} = {value};'
        return f'{self.register(target)} = ptx::as<{own}>(static_cast<{type_}>({value}));'

    def set_predicate(self, target, value):
        return '' if target.strip() == '_' else f'{self.register(target.strip())} = {value};'

    def address(self, text):
        base, offset = re.fullmatch(r'\[\s*([%$\w.]+)\s*(?:\+\s*(-?\d+))?\s*\]', text.strip()).groups()
        return f'uint64_t({self.register(base) if base.startswith("%") else self.symbol(base)}) + uint64_t({offset or 0}ll)'

    def pointer(self, space, t, count, text):
        type_ = TYPES[t]
        if space == 'param' and '%' in text:  # a parameter whose address was taken
            return f'ptx::local<{type_}, {count}>({self.address(text)})'
        if space == 'param':
            name, offset = re.fullmatch(r'\[\s*([\w$]+)\s*(?:\+\s*(\d+))?\s*\]', text.strip()).groups()
            return f'reinterpret_cast<{type_}*>({self.parameters.get(name, name)} + {offset or 0})'
        return f'ptx::{"constant" if space == "const" else space}<{type_}, {count}>({self.address(text)})'

    # ---- instructions

    def statement(self, operation, operands):
        parts = operation.split('.')
        handler = getattr(self, 'do_' + parts[0], None)
        if not handler:
            raise Unknown(parts[0])
        return handler(parts[1:], operands)

    def access(self, mods):
        if 'acquire' in mods or 'release' in mods or not all(HINTS.fullmatch(m) for m in mods):
            raise Unknown('.'.join(mods))
        space = next((m.partition('::')[0] for m in mods if m.partition('::')[0] in SPACES), 'generic')
        return space, next((int(m[1]) for m in mods if re.fullmatch('v[248]', m)), 1)

    def do_ld(self, parts, operands):
        *mods, t = parts
        space, count = self.access(mods)
        targets = items(operands[0])
        return (f'{{ const auto* const from_ = {self.pointer(space, t, count, operands[1])}; ' +
                ' '.join(self.set(target, t, f'from_[{i}]') for i, target in enumerate(targets)) + ' }')

    def do_st(self, parts, operands):
        *mods, t = parts
        space, count = self.access(mods)
        return (f'{{ auto* const to_ = {self.pointer(space, t, count, operands[0])}; ' +
                ' '.join(f'to_[{i}] = {self.value(x, t)};' for i, x in enumerate(items(operands[1]))) + ' }')

    def do_mov(self, parts, operands):
        (t,), (target, source) = parts, operands
        if t == 'pred':
            return self.set_predicate(target, self.predicate(source))
        half = {'b128': 'b64', 'b64': 'b32', 'b32': 'b16'}.get(t)
        if target.startswith('{'):
            bits = int(half[1:])
            return f'{{ const auto whole_ = {self.value(source, t)}; ' + ' '.join(
                self.set(part, half, f'{TYPES[half]}(whole_ >> {bits * i})') for i, part in enumerate(items(target))) + ' }'
        if source.startswith('{'):
            bits = int(half[1:])
            return self.set(target, t, ' | '.join(
                f'{TYPES[t]}({self.value(part, half)}) << {bits * i}' for i, part in enumerate(items(source))))
        return self.set(target, t, self.value(source, t))

    def do_cvta(self, parts, operands):
        value = self.value(operands[1], parts[-1])
        if 'shared' in parts:
            value = f'ptx::{"to" if "to" in parts else "from"}_shared({value})'
        return self.set(operands[0], parts[-1], value)

    def do_isspacep(self, parts, operands):
        if parts != ['shared']:
            raise Unknown('.'.join(parts))
        return self.set_predicate(operands[0], f'ptx::is_shared({self.value(operands[1], "u64")})')

    def arithmetic(self, name, parts, operands):
        *mods, t = parts
        target, a, b = operands
        if t == 'pred':
            return self.set_predicate(target, f'bool({self.predicate(a)} {OPERATORS[name]} {self.predicate(b)})')
        if t[0] == 'f':
            mods = only(mods, 'rn', 'rm', 'rp', 'rz', 'ftz', 'sat')
            value = f'{self.value(a, t)} {OPERATORS[name]} {self.value(b, t)}'
            if mode := next((ROUNDINGS[m] for m in mods if m in ROUNDINGS), None):
                value = f'ptx::rounded({mode}, [](auto a, auto b) {{ return a {OPERATORS[name]} b; }}, {self.value(a, t)}, {self.value(b, t)})'
            if 'sat' in mods:
                value = f'ptx::saturate({value})'
            return self.set(target, t, f'ptx::flush({value})' if 'ftz' in mods else value)
        if 'cc' in mods or name in ('addc', 'subc'):
            raise Unknown('.'.join(parts))
        mods = only(mods, 'lo', 'hi', 'wide')
        if 'wide' in mods:
            wide = f'{t[0]}{2 * int(t[1:])}'
            return self.set(target, wide, f'{TYPES[wide]}({self.value(a, t)}) * {TYPES[wide]}({self.value(b, t)})')
        if 'hi' in mods:
            return self.set(target, t, f'ptx::high<{TYPES[t]}>({self.value(a, t)}, {self.value(b, t)})')
        u = 'u' + t[1:]  # wraps
        return self.set(target, u, f'{TYPES[u]}({self.value(a, u)} {OPERATORS[name]} {self.value(b, u)})')

    def carried(self, name, mods, operands):
        """add, sub, mad with the carry flag, as two halves of a long number."""
        t = mods[-1]
        u = 'u' + t[1:]
        reads = 'carry_' if name.endswith('c') else 'false'
        writes = '&carry_' if 'cc' in mods else 'nullptr'
        values = [self.value(x, u) for x in operands[1:]]
        if name.startswith('mad'):
            half = 'high' if 'hi' in mods else 'low'
            values = [f'ptx::{half}<{TYPES[t] if half == "high" else TYPES[u]}>({self.value(operands[1], t)}, {self.value(operands[2], t)})', values[2]]
        subtracts = 'true' if name.startswith('sub') else 'false'
        return self.set(operands[0], u, f'ptx::carried<{TYPES[u]}>({", ".join(values)}, {subtracts}, {reads}, {writes})')

    def do_add(self, parts, operands):
        return self.carried('add', parts, operands) if 'cc' in parts else self.arithmetic('add', parts, operands)

    def do_sub(self, parts, operands):
        return self.carried('sub', parts, operands) if 'cc' in parts else self.arithmetic('sub', parts, operands)

    def do_addc(self, parts, operands):
        return self.carried('addc', parts, operands)

    def do_subc(self, parts, operands):
        return self.carried('subc', parts, operands)

    def do_madc(self, parts, operands):
        return self.carried('madc', parts, operands)

    def do_mul(self, parts, operands):
        return self.arithmetic('mul', parts, operands)

    def do_and(self, parts, operands):
        return self.arithmetic('and', parts, operands)

    def do_or(self, parts, operands):
        return self.arithmetic('or', parts, operands)

    def do_xor(self, parts, operands):
        return self.arithmetic('xor', parts, operands)

    def do_mad(self, parts, operands):
        *mods, t = parts
        target, a, b, c = operands
        if t[0] == 'f':
            return self.do_fma(parts, operands)
        if 'cc' in mods:
            return self.carried('mad', parts, operands)
        mods = only(mods, 'lo', 'hi', 'wide')
        if 'wide' in mods:
            wide = f'{t[0]}{2 * int(t[1:])}'
            u = 'u' + wide[1:]
            return self.set(target, u, f'{TYPES[u]}({TYPES[wide]}({self.value(a, t)}) * {TYPES[wide]}({self.value(b, t)})) + {self.value(c, u)}')
        u = 'u' + t[1:]
        product = (f'{TYPES[u]}(ptx::high<{TYPES[t]}>({self.value(a, t)}, {self.value(b, t)}))' if 'hi' in mods
                   else f'{self.value(a, u)} * {self.value(b, u)}')
        return self.set(target, u, f'{TYPES[u]}({product} + {self.value(c, u)})')

    def do_fma(self, parts, operands):
        *mods, t = parts
        mods = only(mods, 'rn', 'rm', 'rp', 'rz', 'ftz', 'sat')
        values = ', '.join(self.value(x, t) for x in operands[1:])
        mode = next((ROUNDINGS[m] for m in mods if m in ROUNDINGS), None)
        value = (f'ptx::rounded({mode}, [](auto a, auto b, auto c) {{ return std::fma(a, b, c); }}, {values})' if mode
                 else f'std::fma({values})')
        if 'sat' in mods:
            value = f'ptx::saturate({value})'
        return self.set(operands[0], t, f'ptx::flush({value})' if 'ftz' in mods else value)

    def do_div(self, parts, operands):
        *mods, t = parts
        a, b = (self.value(x, t) for x in operands[1:])
        if t[0] != 'f':
            only(mods)
            return self.set(operands[0], t, f'ptx::quotient<{TYPES[t]}>({a}, {b})')
        mods = only(mods, 'rn', 'full', 'approx', 'ftz')
        value = f'{a} / {b}' if 'rn' in mods else f'ptx::near({a} / double({b}), 2)'
        return self.set(operands[0], t, f'ptx::flush({value})' if 'ftz' in mods else value)

    def do_rem(self, parts, operands):
        (t,) = parts
        return self.set(operands[0], t, f'ptx::remainder<{TYPES[t]}>({self.value(operands[1], t)}, {self.value(operands[2], t)})')

    def extreme(self, name, parts, operands):
        *mods, t = parts
        only(mods, 'ftz')
        return self.set(operands[0], t, f'ptx::{name}<{TYPES[t]}>({self.value(operands[1], t)}, {self.value(operands[2], t)})')

    def do_min(self, parts, operands):
        return self.extreme('smaller', parts, operands)

    def do_max(self, parts, operands):
        return self.extreme('larger', parts, operands)

    def do_not(self, parts, operands):
        (t,) = parts
        if t == 'pred':
            return self.set_predicate(operands[0], f'!{self.predicate(operands[1])}')
        return self.set(operands[0], t, f'{TYPES[t]}(~{self.value(operands[1], t)})')

    def do_neg(self, parts, operands):
        *mods, t = parts
        only(mods, 'ftz')
        if t[0] == 'f':
            return self.set(operands[0], t, f'-{self.value(operands[1], t)}')
        u = 'u' + t[1:]
        return self.set(operands[0], u, f'{TYPES[u]}(0 - {self.value(operands[1], u)})')

    def do_abs(self, parts, operands):
        *mods, t = parts
        only(mods, 'ftz')
        return self.set(operands[0], t, f'ptx::absolute({self.value(operands[1], t)})')

    def do_copysign(self, parts, operands):
        (t,) = parts  # the sign of a, the magnitude of b
        return self.set(operands[0], t, f'std::copysign({self.value(operands[2], t)}, {self.value(operands[1], t)})')

    def do_shl(self, parts, operands):
        (t,) = parts
        u = 'u' + t[1:]
        return self.set(operands[0], u, f'ptx::shift_left<{TYPES[u]}>({self.value(operands[1], u)}, {self.value(operands[2], "u32")})')

    def do_shr(self, parts, operands):
        (t,) = parts
        t = t.replace('b', 'u')
        return self.set(operands[0], t, f'ptx::shift_right<{TYPES[t]}>({self.value(operands[1], t)}, {self.value(operands[2], "u32")})')

    def do_shf(self, parts, operands):
        side, mode, _ = parts
        values = ', '.join(self.value(x, 'u32') for x in operands[1:])
        return self.set(operands[0], 'b32', f'ptx::funnel({values}, {"true" if side == "l" else "false"}, {"true" if mode == "wrap" else "false"})')

    def bits(self, function, parts, operands, result=None, **types):
        t = parts[-1]
        u = 'u' + t[1:]
        values = ', '.join(self.value(x, types.get(f'a{i}', u)) for i, x in enumerate(operands[1:]))
        return self.set(operands[0], result or u, f'ptx::{function}({values})')

    def do_popc(self, parts, operands):
        return self.bits('population', parts, operands, 'u32')

    def do_clz(self, parts, operands):
        return self.bits('leading_zeros', parts, operands, 'u32')

    def do_brev(self, parts, operands):
        return self.bits('reversed', parts, operands)

    def do_bfind(self, parts, operands):
        mods = only(parts[:-1], 'shiftamt')
        if parts[-1][0] != 'u':
            raise Unknown('.'.join(parts))
        return self.bits('first_bit_as_shift' if mods else 'first_bit', parts, operands, 'u32')

    def do_bfe(self, parts, operands):
        (t,) = parts
        return self.set(operands[0], t, f'ptx::field<{TYPES[t]}>({self.value(operands[1], t)}, {self.value(operands[2], "u32")}, {self.value(operands[3], "u32")})')

    def do_bfi(self, parts, operands):
        (t,) = parts
        a, b = (self.value(x, t) for x in operands[1:3])
        return self.set(operands[0], t, f'ptx::with_field<{TYPES[t]}>({a}, {b}, {self.value(operands[3], "u32")}, {self.value(operands[4], "u32")})')

    def do_prmt(self, parts, operands):
        if parts != ['b32']:
            raise Unknown('.'.join(parts))
        return self.bits('permuted', parts, operands)

    def do_lop3(self, parts, operands):
        return self.bits('of_three', parts, operands)

    def do_selp(self, parts, operands):
        (t,) = parts
        return self.set(operands[0], t, f'{self.predicate(operands[3])} ? {self.value(operands[1], t)} : {self.value(operands[2], t)}')

    def do_setp(self, parts, operands):
        how, *mods, t = parts
        joined = next((m for m in mods if m in ('and', 'or', 'xor')), None)
        only(mods, 'ftz', *([joined] if joined else []))
        a, b = self.value(operands[1], t), self.value(operands[2], t)
        unordered = f'ptx::unordered({a}, {b})'
        if how in ('nan', 'num'):
            value = unordered if how == 'nan' else '!' + unordered
        elif how in COMPARISONS:
            value = f'{a} {COMPARISONS[how]} {b}'
            if how == 'ne' and t[0] == 'f':
                value = f'({value}) && !{unordered}'
        elif how[:-1] in COMPARISONS and how[-1] == 'u':
            value = f'({a} {COMPARISONS[how[:-1]]} {b}) || {unordered}'
        else:
            raise Unknown(how)
        yes, no = f'bool({value})', f'!bool({value})'
        if joined:
            yes, no = (f'bool({x} {OPERATORS[joined]} {self.predicate(operands[3])})' for x in (yes, no))
        target, _, other = operands[0].partition('|')
        text = f'const bool yes_ = {yes}, no_ = {no}; {self.set_predicate(target, "yes_")}'
        return '{ ' + text + (self.set_predicate(other, 'no_') if other else '') + ' }'

    def do_cvt(self, parts, operands):
        *mods, to, of = parts
        if to == 'tf32':
            if mods != ['rna'] or of != 'f32':
                raise Unknown('.'.join(parts))
            return self.set(operands[0], 'b32', f'lp::cuda::to_tf32({self.value(operands[1], of)})')
        if to not in TYPES or of not in TYPES:
            raise Unknown('.'.join(parts))
        value = self.value(operands[1], of)
        whole = next((TO_WHOLE[m] for m in mods if m in TO_WHOLE), None)
        mods = only((m for m in mods if m not in TO_WHOLE), 'rn', 'rm', 'rp', 'rz', 'ftz', 'sat')
        if whole:
            value = f'{whole}({value})'
        if of[0] == 'f' and to[0] != 'f':
            return self.set(operands[0], to, f'ptx::whole<{TYPES[to]}>({value})')
        if mode := next((ROUNDINGS[m] for m in mods if m in ROUNDINGS), None):
            value = f'ptx::rounded({mode}, [](auto x) {{ return static_cast<{TYPES[to]}>(x); }}, {value})'
        else:
            value = f'static_cast<{TYPES[to]}>({value})'
        if 'sat' in mods:
            if to[0] != 'f':
                raise Unknown('.'.join(parts))
            value = f'ptx::saturate({value})'
        return self.set(operands[0], to, f'ptx::flush({value})' if 'ftz' in mods else value)

    def special(self, function, parts, operands):
        """The special function unit's, which are near; see ptx.h for how near."""
        *mods, t = parts
        mods = only(mods, 'approx', 'ftz', 'rn')
        value = self.value(operands[1], t)
        if 'rn' in mods:
            value = {'sqrt': f'std::sqrt({value})', 'rcp': f'1 / {value}'}[function]
            return self.set(operands[0], t, f'ptx::flush({value})' if 'ftz' in mods else value)
        if t == 'f64':  # of ftz the upper word alone is given
            exact = {'rcp': f'1 / {value}', 'rsqrt': f'1 / std::sqrt({value})'}[function]
            return self.set(operands[0], t, f'ptx::upper_word({exact})' if 'ftz' in mods else exact)
        value = f'ptx::{function}({"ptx::flush(" + value + ")" if "ftz" in mods else value})'
        return self.set(operands[0], t, f'ptx::flush({value})' if 'ftz' in mods else value)

    def do_ex2(self, parts, operands):
        return self.special('ex2', parts, operands)

    def do_lg2(self, parts, operands):
        return self.special('lg2', parts, operands)

    def do_rcp(self, parts, operands):
        return self.special('rcp', parts, operands)

    def do_sqrt(self, parts, operands):
        return self.special('sqrt', parts, operands)

    def do_rsqrt(self, parts, operands):
        return self.special('rsqrt', parts, operands)

    def do_sin(self, parts, operands):
        return self.special('sin', parts, operands)

    def do_cos(self, parts, operands):
        return self.special('cos', parts, operands)

    def do_tanh(self, parts, operands):
        return self.special('tanh', parts, operands)

    def do_shfl(self, parts, operands):
        _, mode, _ = parts
        target, _, inside = operands[0].partition('|')
        values = ', '.join(self.value(x, 'u32') for x in operands[1:])
        pointer = '&' + self.register(inside.strip()) if inside.strip() not in ('', '_') else 'nullptr'
        return self.set(target, 'b32', f'ptx::shfl(ptx::Shuffle::{mode}, {values}, {pointer})')

    def do_vote(self, parts, operands):
        _, kind, _ = parts
        call = f'__{kind}_sync({self.value(operands[2], "u32")}, {self.predicate(operands[1])})'
        return self.set(operands[0], 'b32', call) if kind == 'ballot' else self.set_predicate(operands[0], f'{call} != 0')

    def do_match(self, parts, operands):
        if parts[:2] != ['any', 'sync']:
            raise Unknown('.'.join(parts))
        t = parts[-1].replace('b', 'u')
        return self.set(operands[0], 'b32', f'__match_any_sync({self.value(operands[2], "u32")}, {self.value(operands[1], t)})')

    def do_redux(self, parts, operands):
        _, how, t = parts
        if how not in ('add', 'min', 'max', 'and', 'or', 'xor'):
            raise Unknown(how)
        t = t.replace('b', 'u')
        return self.set(operands[0], t, f'__reduce_{how}_sync({self.value(operands[2], "u32")}, {self.value(operands[1], t)})')

    def do_bar(self, parts, operands):
        if parts[:1] == ['warp']:
            return f'__syncwarp({self.value(operands[0], "u32")});'
        parts = [p for p in parts if p not in ('cta', 'aligned')]
        if operands[0 if parts == ['sync'] else 1] != '0' or (len(operands) > 1 and parts == ['sync']):
            raise Unknown('a barrier other than 0')
        if parts == ['sync']:
            return '__syncthreads();'
        if parts[0] != 'red' or len(operands) != 3:
            raise Unknown('.'.join(parts))
        holds = self.predicate(operands[2])
        if parts[1] == 'popc':
            return self.set(operands[0], 'u32', f'__syncthreads_count({holds})')
        return self.set_predicate(operands[0], f'__syncthreads_{parts[1]}({holds}) != 0')

    do_barrier = do_bar

    def do_membar(self, parts, operands):
        return 'emu::fence();'

    def do_fence(self, parts, operands):
        only(parts, 'sc', 'acq_rel', 'cta', 'gpu', 'sys')
        return 'emu::fence();'

    def atomic(self, parts, where, rest):
        *mods, t = parts
        names = {'add': 'Add', 'min': 'Min', 'max': 'Max', 'and': 'And', 'or': 'Or', 'xor': 'Xor', 'exch': 'Exch',
                 'cas': 'CAS', 'inc': 'Inc'}
        how = next(m for m in mods if m in names)
        only(mods, how, 'relaxed', 'cta', 'gpu', 'sys', 'global', 'shared', 'shared::cta')
        space = next((m.partition('::')[0] for m in mods if m.partition('::')[0] in SPACES), 'generic')
        values = ', '.join(self.value(x, t) for x in rest)
        return f'atomic{names[how]}({self.pointer(space, t, 1, where)}, {values})'

    def do_atom(self, parts, operands):
        return self.set(operands[0], parts[-1], self.atomic(parts, operands[1], operands[2:]))

    def do_red(self, parts, operands):
        return self.atomic(parts, operands[0], operands[1:]) + ';'

    def do_cp(self, parts, operands):
        if parts[:2] in (['async', 'cg'], ['async', 'ca']) and parts[-1] == 'global':
            size = self.value(operands[2], 'u32')
            filled = self.value(operands[3], 'u32') if len(operands) > 3 else size
            return f'ptx::copy_async({self.address(operands[0])}, {self.address(operands[1])}, {size}, {filled});'
        if parts == ['async', 'commit_group']:
            return 'emu::copy_commit();'
        if parts == ['async', 'wait_group']:
            return f'emu::copy_wait({operands[0]});'
        if parts == ['async', 'wait_all']:
            return 'emu::copy_commit(); emu::copy_wait(0);'
        raise Unknown('.'.join(parts))

    def do_mma(self, parts, operands):
        if '.'.join(parts) != 'sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32':
            raise Unknown('.'.join(parts))
        d, a, b, c = (items(group) for group in operands)
        listed = lambda registers, t: ', '.join(self.value(x, t) for x in registers)
        return (f'{{ float d_[4] = {{{listed(c, "f32")}}}; const uint32_t a_[4] = {{{listed(a, "b32")}}}, '
                f'b_[2] = {{{listed(b, "b32")}}}; lp::cuda::mma_tf32(d_, a_, b_); ' +
                ' '.join(self.set(x, 'f32', f'd_[{i}]') for i, x in enumerate(d)) + ' }')

    def do_bra(self, parts, operands):
        only(parts, 'uni')
        return f'goto {operands[0].lstrip("$")};'

    def do_ret(self, parts, operands):
        return 'return;'

    def do_exit(self, parts, operands):
        return 'return;'

    def do_trap(self, parts, operands):
        return '__trap();'

    def do_call(self, parts, operands):
        only(parts, 'uni')
        returned = items(operands.pop(0).strip('()')) if operands[0].startswith('(') else []
        name, *given = operands
        given = split(given[0].strip('()')) if given else []
        if name == '__assertfail':
            return 'emu::fail(emu::Where::current(), "an assertion of the kernel does not hold");'
        return f'f_{name}({", ".join([*returned, *given])});'

    # ---- the body

    def declaration(self, text):
        if match := re.fullmatch(r'\.reg \.(\w+)\s+(.*)', text, re.S):
            type_ = 'bool' if match.group(1) == 'pred' else TYPES[match.group(1)]
            names = []
            for register in split(match.group(2)):
                if many := re.fullmatch(r'(%\w+?)<(\d+)>', register):
                    self.types[many.group(1)] = type_
                    names += [f'{self.register(many.group(1))}{i}' for i in range(int(many.group(2)))]
                else:
                    self.types[register] = type_
                    names.append(self.register(register))
            return f'{type_} {", ".join(names)};'
        if match := re.fullmatch(r'\.(?:local|param) \.align (\d+) \.b8\s+([\w$]+)\[(\d+)\]', text):
            align, name, size = match.groups()
            return f'alignas({align}) char {name}[{size}];'
        if match := re.fullmatch(r'\.param \.b(\d+)\s+([\w$]+)', text):
            return f'alignas(8) char {match.group(2)}[{max(int(match.group(1)) // 8, 4)}];'
        return None

    def lines(self, body):
        """Statements of C++. One of PTX ends at a semicolon, or is a label, a brace, or a .loc on a line of its own."""
        pattern = re.compile(r'\s*(?:(?P<loc>\.loc\s[^\n]*)\n|(?P<label>\$?[\w$]+):(?!:)|(?P<brace>[{}])|(?P<text>[^;]*);)', re.S)
        position = 0
        body += '\n'
        while position < len(body.rstrip()):
            match = pattern.match(body, position)
            position = match.end()
            if match['loc']:
                file, line = match['loc'].split()[1:3]
                # Of what is inlined from a header, the call.
                call = re.search(r'inlined_at (\d+) (\d+)', match['loc'])
                if call and not self.module.files.get(file, '').endswith('.cu'):
                    file, line = call.groups()
                if file in self.module.files:
                    yield f'#line {line} "{self.module.files[file]}"'
            elif match['label']:
                yield match['label'].lstrip('$') + ':;'
            elif match['brace']:
                yield match['brace']
            else:
                yield self.line(re.sub(r'\s+', ' ', match['text'].strip()))

    def line(self, text):
        if text.startswith('.pragma'):
            return ''
        if (declared := self.declaration(text)) is not None:
            return declared
        condition = ''
        if match := re.match(r'@(!?)(%\w+)\s+', text):
            condition = f'if ({match.group(1)}{self.register(match.group(2))}) '
            text = text[match.end():]
        operation, _, operands = text.partition(' ')
        try:
            return condition + self.statement(operation, split(operands))
        except (Unknown, KeyError, ValueError, AttributeError, IndexError, StopIteration) as error:
            raise SystemExit(f'ptx2cpp.py: {self.name}: no translation of "{text}" ({error!r})') from error


def translate(path):
    with open(path) as file:
        module = Module(file.read())
    # A label is looked for in its function alone, so braces of PTX are braces of C++.
    yield '// Written by ptx2cpp.py.'
    yield '#include "cuda/emulated/ptx.h"'
    yield from module.constants.values()
    for name in module.constants:
        yield f'static const ptx::Constant of_{name}(c_{name}, sizeof c_{name});'
    functions = list(module.functions())
    for kernel, name, returned, parameters, _, _ in functions:
        if not kernel:
            yield f'static void f_{name}({", ".join("char*" for _ in [*returned, *parameters])});'
    for i, (kernel, name, returned, parameters, directives, body) in enumerate(functions):
        function = Function(module, kernel, name, returned, parameters, body)
        if kernel:
            yield f'static void ptx_{name}([[maybe_unused]] void** parameters) {{'
        else:
            yield f'static void f_{name}({", ".join(f"char* {p}" for p in [*returned, *parameters])}) {{'
        yield '[[maybe_unused]] bool carry_;'
        yield from function.lines(body)
        yield '}'
        yield f'#line 1 "{path}"'
        if kernel:
            most = re.search(r'\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?', directives)
            threads = 1
            for n in most.groups() if most else ['1024']:
                threads *= int(n or 1)
            yield f'extern "C" __attribute__((weak)) void host_{i}() __asm__("{name}");'
            yield (f'static const emu::Translated translated_{i}(reinterpret_cast<const void*>(&host_{i}), '
                   f'{module.architecture}, {{ptx_{name}, {function.shared_bytes}, {threads}}});')


if __name__ == '__main__':
    text = '\n'.join(translate(sys.argv[1]))
    with open(sys.argv[2], 'w') as made:
        made.write(text + '\n')
