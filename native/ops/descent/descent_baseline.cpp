#define LP_ISA baseline
#include "ops/descent/descent-inl.h"
