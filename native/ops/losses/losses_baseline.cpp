#define LP_ISA baseline
#include "ops/losses/losses-inl.h"
