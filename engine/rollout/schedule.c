/* schedule.c: rows of a pass. */
#include "engine/rollout/schedule.h"

int schedule_pass(int *take, const int *due, int n, int max_rows)
{
    int rows = 0;
    for (int i = 0; i < n; i++) take[i] = 0;
    for (int prefill = 0; prefill < 2; prefill++)
        for (int i = 0; i < n; i++) {
            if (due[i] <= 0 || (due[i] > 1) != prefill) continue;
            take[i] = MIN(due[i], max_rows - rows);
            rows += take[i];
        }
    return rows;
}

int schedule_pass_size(int rows, int most)
{
    int size = 1, step = 8;
    while (size < rows) size *= 2;
    if (rows > 8) {
        while (step * 8 < size) step *= 2;
        size = (int)round_up(rows, step);
    }
    return MIN(size, most);
}
