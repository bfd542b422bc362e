/* The numbers of a draw, and the tokens that may win it: `Chooser` of gumbel.py, for the whole vocabulary at once. */

#include <float.h>
#include <math.h>
#include <stdint.h>

#define STRIDE 0x9E3779B97F4A7C15u
#define BLOCK 256
#define LANES 16
/* In logit units: far more than two ways to take a logarithm differ by. */
#define SLACK 1e-6

#if defined(__x86_64__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* splitmix64's output function without its last step, which leaves the upper 31 bits as they are. */
static inline uint64_t half_mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    return (z ^ (z >> 27)) * 0x94D049BB133111EBu;
}

/* The Gumbel number of a token. */
static double number(uint64_t key, int64_t token) {
    uint64_t z = half_mixed(key + (uint64_t)token * STRIDE);
    uint64_t x = (z ^ (z >> 31)) >> 11;
    /* Both ends keep their digits: the share below, or in the upper half the share above. */
    if (x >= (uint64_t)1 << 52)
        return -log(-log1p(-((double)(((uint64_t)1 << 53) - 1 - x) + 0.5) * 0x1p-53));
    return -log(-log(((double)x + 0.5) * 0x1p-53));
}

/* The largest logit; NAN if one is not a number, or is infinite and not negative. */
FOR_EACH_PROCESSOR
static float largest(const float *rough, int64_t vocab) {
    float most[LANES];
    int odd = 0;
    int64_t at = 0;
    for (int lane = 0; lane < LANES; lane++) most[lane] = -INFINITY;
    for (; at + LANES <= vocab; at += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            float each = rough[at + lane];
            odd |= !(each <= FLT_MAX);
            most[lane] = each > most[lane] ? each : most[lane];
        }
    for (; at < vocab; at++) {
        odd |= !(rough[at] <= FLT_MAX);
        most[0] = rough[at] > most[0] ? rough[at] : most[0];
    }
    for (int lane = 1; lane < LANES; lane++) most[0] = most[lane] > most[0] ? most[lane] : most[0];
    return odd ? NAN : most[0];
}

/* Puts the tokens whose word is at least `rare` into found: as many as there are, at most `room`. */
FOR_EACH_PROCESSOR
static int64_t rare_ones(uint64_t key, int64_t vocab, uint64_t rare, int64_t *found, int64_t room) {
    int64_t count = 0;
    for (int64_t start = 0; start < vocab; start += BLOCK) {
        int size = vocab - start < BLOCK ? (int)(vocab - start) : BLOCK;
        uint64_t words[BLOCK], from = key + (uint64_t)start * STRIDE;
        uint64_t is_rare = 0;
        for (int i = 0; i < size; i++) {
            words[i] = half_mixed(from + (uint64_t)i * STRIDE);
            is_rare |= words[i] >= rare;
        }
        for (int i = 0; is_rare && i < size; i++)
            if (words[i] >= rare && count++ < room) found[count - 1] = start + i;
    }
    return count;
}

/* The same of the tokens whose logit is at least `least`. */
FOR_EACH_PROCESSOR
static int64_t likely_ones(const float *rough, int64_t vocab, float least, int64_t *found, int64_t room) {
    int64_t count = 0;
    for (int64_t start = 0; start < vocab; start += BLOCK) {
        int size = vocab - start < BLOCK ? (int)(vocab - start) : BLOCK;
        int is_likely = 0;
        for (int i = 0; i < size; i++) is_likely |= rough[start + i] >= least;
        for (int i = 0; is_likely && i < size; i++)
            if (rough[start + i] >= least && count++ < room) found[count - 1] = start + i;
    }
    return count;
}

/* Puts all tokens into found whose score may be the largest, or lies at most `apart` below it.
   temperature: in units of one; without it no number counts. rare, high: a word of at least `rare` has a number above
   `high`. Returns how many there are, or -1 if they are more than `room` or a logit is no number that can be compared. */
int64_t contenders(const float *rough, int64_t vocab, uint64_t key, double temperature, double apart, uint64_t rare,
                   double high, int64_t *found, double *scores, int64_t room) {
    float most = largest(rough, vocab);
    if (!isfinite(most)) return -1;
    int64_t count = temperature > 0 ? rare_ones(key, vocab, rare, found, room) : 0;
    if (count > room) return -1;
    /* The likeliest token scores more than this, for no number is less than -4. */
    double best = most - 4 * temperature;
    for (int64_t i = 0; i < count; i++) {
        scores[i] = rough[found[i]] + temperature * number(key, found[i]);
        best = scores[i] > best ? scores[i] : best;
    }
    float least = nextafterf((float)(best - temperature * high - apart - SLACK), -INFINITY);
    int64_t all = count + likely_ones(rough, vocab, least, found + count, room - count);
    if (all > room) return -1;
    for (int64_t i = count; i < all; i++) {
        /* It is among those already. */
        if (temperature > 0 && half_mixed(key + (uint64_t)found[i] * STRIDE) >= rare) {
            scores[i] = -INFINITY;
            continue;
        }
        scores[i] = rough[found[i]] + (temperature > 0 ? temperature * number(key, found[i]) : 0);
        best = scores[i] > best ? scores[i] : best;
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < all; i++)
        if (scores[i] >= best - apart - SLACK) found[kept++] = found[i];
    return kept;
}

/* The Gumbel numbers of some tokens. */
void numbers(uint64_t key, const int64_t *tokens, int64_t count, double *found) {
    for (int64_t i = 0; i < count; i++) found[i] = number(key, tokens[i]);
}
