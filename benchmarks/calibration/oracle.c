/* Brute force over every combination of thresholds of a four-exit network: the plainest loop that finishes in time.
   ranks: [3][samples], tops: distinct scores per exit, right: [samples][4], cost: [4].
   Returns the most right answers with total cost within the limit, and the least total cost that reaches them. */
#include <stdint.h>
#include <stdlib.h>

static int *by_rank(int samples, const int *rank, int top) {
  int *order = malloc(sizeof(int) * (size_t)samples), *from = calloc((size_t)top + 2, sizeof(int));
  for (int i = 0; i < samples; i++) from[rank[i] + 1]++;
  for (int k = 0; k < top; k++) from[k + 1] += from[k];
  for (int i = 0; i < samples; i++) order[from[rank[i]]++] = i;
  free(from);
  return order;
}

long brute_force(int samples, const int *ranks, const int *tops, const uint8_t *right, const double *cost, double limit, double *least) {
  const int *third = ranks + 2 * (size_t)samples;
  int *first_order = by_rank(samples, ranks, tops[0]), *second_order = by_rank(samples, ranks + samples, tops[1]), places = tops[2];
  double *total = malloc(sizeof(double) * (size_t)(places + 1));
  float *score = malloc(sizeof(float) * (size_t)(places + 1));
  uint8_t *passed = calloc((size_t)samples, 1);
  double base_cost = 0, best_cost = 1e300;
  long base_score = 0, best = -1;
  for (int i = 0; i < samples; i++) base_cost += cost[0], base_score += right[i * 4];
  for (int p = 0, moved = 0; p <= tops[0]; p++) {
    for (; moved < samples && ranks[first_order[moved]] < p; moved++) {
      int i = first_order[moved];
      passed[i] = 1, base_cost += cost[1] - cost[0], base_score += (long)right[i * 4 + 1] - right[i * 4];
    }
    for (int q = 0; q <= places; q++) total[q] = base_cost, score[q] = (float)base_score;
    for (int s = 0, at = 0; s <= tops[1]; s++) {
      for (; at < samples && ranks[samples + second_order[at]] < s; at++) {
        int i = second_order[at], t = third[i];
        if (!passed[i]) continue;
        double to_third = cost[2] - cost[1], to_last = cost[3] - cost[1];
        float gain_third = (float)right[i * 4 + 2] - right[i * 4 + 1], gain_last = (float)right[i * 4 + 3] - right[i * 4 + 1];
        for (int q = 0; q <= t; q++) total[q] += to_third, score[q] += gain_third;
        for (int q = t + 1; q <= places; q++) total[q] += to_last, score[q] += gain_last;
      }
      float most = (float)best;
      for (int q = 0; q <= places; q++) {
        float value = total[q] <= limit ? score[q] : -1;
        most = value > most ? value : most;
      }
      if (most < best) continue;
      for (int q = 0; q <= places; q++)
        if (total[q] <= limit && score[q] == most && (most > best || total[q] < best_cost)) best = (long)most, best_cost = total[q];
    }
  }
  free(first_order), free(second_order), free(total), free(score), free(passed);
  *least = best_cost;
  return best;
}
