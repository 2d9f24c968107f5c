#define LP_ISA baseline
#include "ops/quick/quick-inl.h"
