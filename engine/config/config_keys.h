/* config_keys.h: the struct behind config.h. Key `actor.optim.lr` is the field actor.optim_lr: the first word is a
 * sub-struct, the rest is joined by '_'. Names are verl's. Members that belong together share a line. */
#pragma once
#include "base/err.h"
#include "engine/branch/branch_points.h"
#include "engine/config/config_choices.h"
#include "engine/tools/tool_calls.h"
#include "model/acts.h"
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

enum { CONFIG_KEYS_MAX = 192 };

/* Strings are owned by the struct and never NULL; lists of files are separated by commas. enum loss_mode, loss_agg,
 * kl_kind, future_mode: ops_loss.h; dual_group: ops_rl.h. */
struct config {
    struct {
        char *train_files, *val_files;                                      /* no files: the embedded tasks */
        char *prompt_key, *answer_key, *source_key;                         /* "": the usual columns, data/dataset.h */
        bool shuffle;
        int64_t seed;
        enum truncation truncation;
        bool filter_overlong_prompts;
        int max_length;
        char *system_prompt;
        int train_batch_size /* prompts a step */, val_per_family, max_prompt_length, max_response_length;
    } data;
    /* path "": the embedded policy */
    struct { char *path, *chat_format; enum recompute recompute; enum model_check check; } model;
    struct {
        int n /* M */, initial_rollouts /* N */;
        double temperature, top_p;
        int top_k, max_num_seqs, max_num_batched_tokens, max_len;
        int64_t max_total_tokens;
        double val_kwargs_temperature, val_kwargs_top_p;
        int val_kwargs_top_k, val_kwargs_n;
    } rollout;
    struct {
        enum branch_when when;
        int every;                                                          /* k: mini-batches k, 2k, ... of the run */
        enum branch_signal score;
        enum branch_omega omega;
        enum branch_pool pool;
        int points /* B */, rounds /* L */;
        /* omega is clamped to [1 - low, 1 + high] */
        double gamma, clip_low, clip_high;
        enum branch_entropy entropy;
        enum branch_candidates candidates;
        int min_gap;
        bool strict_first;
        enum branch_fallback fallback;
        bool entropy_if_flat, resample_token, train;
        enum tool_budget tool_budget;
    } branch;
    struct {
        enum dual_group dual_group;
        bool norm_by_std;
        enum future_mode future;
        double future_weight, future_gamma, future_clip_low, future_clip_high,
            future_leave_out /* c, not ln c; 0: none */, future_safety /* 0: off */;
        double entropy_weight;
        bool reward_scale;
        double reward_scale_discount;
    } advantage;
    struct { enum preset preset; enum algo adv_estimator; double gamma; bool use_kl_in_reward; } algorithm;
    struct {
        double optim_lr;
        int optim_lr_warmup_steps;
        double optim_lr_warmup_steps_ratio, optim_weight_decay;
        bool optim_decay_all;
        double optim_beta1, optim_beta2, optim_eps, grad_clip;
        enum state_dtype optim_state_dtype;
        enum master optim_master;
        int ppo_mini_batch_size /* prompts */, ppo_epochs;
        enum epoch_order epoch_order;
        enum offload offload;
        int zero;
        enum grad_sum grad_sum;
        int ppo_max_token_len_per_gpu;
        enum loss_mode policy_loss_loss_mode;
        double clip_ratio_low, clip_ratio_high, clip_ratio_c, top_entropy_quantile;
        /* false: kl_loss_coef is 0, true: 0.001 unless given, when the configuration is loaded */
        bool use_kl_loss;
        double kl_loss_coef, entropy_coeff;
        enum kl_kind kl_loss_type;
        enum loss_agg loss_agg_mode;
        bool drop_rows, live_rows_only;
    } actor;
    struct { bool offload; } ref;
    struct { enum reward_rule kind; double tool_bonus, wrong, malformed; } reward;
    struct {
        enum call_format format;
        int call_limit;
        double timeout;
        int max_pages, max_chars, max_tokens, threads;
        char *search_cache;
        enum search_miss search_miss;
    } tools;
    struct {
        int steps, batch_size;
        double lr;
        int warmup_steps;
        double min_lr_ratio, weight_decay, beta2, grad_clip, guess_high, guess_low, early, slip;
        bool mask_results;
        char *save;
    } sft;
    struct { double timeout; } comm;
    struct {
        int total_training_steps, total_epochs;
        int64_t seed;
        double save_minutes;
        enum save_async save_async;
        int test_freq, save_freq, max_restarts, n_gpus_per_node, nnodes, max_actor_ckpt_to_keep;
        char *best_metric;                                                  /* "auto", "none" or a metric's name */
        char *project_name, *experiment_name, *default_local_dir, *rollout_data_dir, *validation_data_dir;
        int rollout_data_prompts, threads;
        bool rollout_data_gzip, val_before_train, verify;
        char *resume;                                                       /* "auto", "off" or a folder */
        char *report, *logger;
    } trainer;
    bool print;                                                             /* --print-config was given */
    /* of each key, in the order of the table; NULL: default */
    char *source[CONFIG_KEYS_MAX];
};
