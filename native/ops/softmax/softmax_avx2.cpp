#define LP_ISA avx2
#include "ops/softmax/softmax-inl.h"
