/* policy_curve.h: sums of rewards over the 18 initial rollouts of twenty small steps. Made anew with the policy, or
 * where credit changes. */
10, 10, 16, 9.5, 13, 11, 15, 13, 14, 11.5,
16, 11, 13, 18, 16, 15, 11, 13, 9.5, 16,
