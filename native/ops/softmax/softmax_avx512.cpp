#define LP_ISA avx512
#include "ops/softmax/softmax-inl.h"
