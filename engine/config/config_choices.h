/* config_choices.h: the values of keys that are one of several words, in the order of the words in config_table.c. */
#pragma once

enum preset { PRESET_DEFAULT, PRESET_PAPER, PRESET_OFFICIAL, PRESET_OFFICIAL_8B, PRESET_OFFICIAL_14B };
enum epoch_order { EPOCHS_INNER, EPOCHS_VERL };
/* behind APPO in the order of enum estimator (ops_rl.h) */
enum algo {
    ALGO_APPO,
    ALGO_GRPO,
    ALGO_GRPO_PASSK,
    ALGO_REINFORCE_PP,
    ALGO_REINFORCE_PP_BASELINE,
    ALGO_RLOO,
    ALGO_OPO
};
enum branch_when { BRANCH_MINIBATCH, BRANCH_STEP };
enum branch_omega { OMEGA_ROLLOUT, OMEGA_PREVIOUS, OMEGA_REFERENCE, OMEGA_NONE };
enum branch_entropy { ENTROPY_FULL, ENTROPY_TOP10 };
enum branch_fallback { FALLBACK_ENTROPY, FALLBACK_PRODUCT };
enum model_check { CHECK_NAN, CHECK_OFF };
enum branch_candidates { CANDIDATES_OPEN, CANDIDATES_TEXT, CANDIDATES_ANY };
enum tool_budget { BUDGET_RESPONSE, BUDGET_PREFIX };
enum truncation { TRUNCATE_ERROR, TRUNCATE_FILTER, TRUNCATE_LEFT, TRUNCATE_RIGHT, TRUNCATE_MIDDLE };
enum state_dtype { STATE_FP32, STATE_BF16 };
enum master { MASTER_AUTO, MASTER_FP32, MASTER_NONE };
enum save_async { SAVE_WAITS, SAVE_ASYNC, SAVE_AUTO };
enum grad_sum { GRAD_SUM_FAST, GRAD_SUM_EXACT };
enum offload { OFFLOAD_NONE, OFFLOAD_OPTIMIZER };
enum search_miss { SEARCH_MISS_ERROR, SEARCH_MISS_NEAREST };
enum reward_rule { RULE_TASK, RULE_EXACT, RULE_DEEP_RESEARCH };
