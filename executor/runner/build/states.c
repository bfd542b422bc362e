/* Takes the states after the final norm out of a pass of llama.cpp: a cb_eval of its context parameters. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct ggml_tensor;
/* Of ggml.h and ggml-backend.h; libggml-base.so is loaded before this. */
extern const char *ggml_get_name(const struct ggml_tensor *tensor);
extern size_t ggml_nbytes(const struct ggml_tensor *tensor);
extern void ggml_backend_tensor_get(const struct ggml_tensor *tensor, void *data, size_t offset, size_t size);

struct taken {
    void *rows;
    size_t room, filled; /* bytes */
};

/* llama.cpp asks of each tensor before it is computed whether it is wanted, and shows those that are. What a pass
   yields beyond the room is not taken, which `filled` tells. */
bool take_states(struct ggml_tensor *tensor, bool ask, void *user) {
    struct taken *taken = user;
    if (strcmp(ggml_get_name(tensor), "result_norm") != 0) return !ask;
    if (!ask) {
        size_t size = ggml_nbytes(tensor);
        if (size <= taken->room) {
            ggml_backend_tensor_get(tensor, taken->rows, 0, size);
            taken->filled = size;
        }
    }
    return true;
}
