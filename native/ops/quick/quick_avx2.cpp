#define LP_ISA avx2
#include "ops/quick/quick-inl.h"
