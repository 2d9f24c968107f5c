#define LP_ISA baseline
#include "ops/softmax/softmax-inl.h"
