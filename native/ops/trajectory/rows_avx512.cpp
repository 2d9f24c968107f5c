#define LP_ISA avx512
#include "ops/trajectory/rows-inl.h"
