#define LP_ISA avx512
#include "ops/collapse/collapse-inl.h"
