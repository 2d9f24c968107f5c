#define LP_ISA baseline
#include "ops/margins/margins-inl.h"
