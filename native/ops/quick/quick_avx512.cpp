#define LP_ISA avx512
#include "ops/quick/quick-inl.h"
