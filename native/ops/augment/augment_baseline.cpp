#define LP_ISA baseline
#include "ops/augment/augment-inl.h"
