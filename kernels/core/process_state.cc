#include "core/process_state.h"

namespace gridflow {

ProcessState* process_state = new ProcessState;

Failpoints& ProcessFailpoints() { return process_state->failpoints; }

}  // namespace gridflow
