#define LP_ISA avx512
#include "ops/class_sums/class_sums-inl.h"
