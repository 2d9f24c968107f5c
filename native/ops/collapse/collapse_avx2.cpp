#define LP_ISA avx2
#include "ops/collapse/collapse-inl.h"
