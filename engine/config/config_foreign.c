/* config_foreign.c: keys of verl, ARPO, APPO, Search-R1 and TRL: other names of our keys, and keys that ask for
 * something this program does not have. docs/from-verl.md is this table in words; tests/cli/launchers holds the keys of
 * eight public launch scripts. */
#include "engine/config/config_in.h"
#include "base/number.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- values of other programs ---- */

static bool number(const char *value, double *d)
{
    char *end;
    if (!*value || value[strspn(value, "0123456789+-.eE")]) return false;
    *d = strtod(value, &end);
    return !*end && isfinite(*d);
}

/* d tokens until the weight is half: 2^(-1/d) */
static bool half_life(const char *value, char out[64])
{
    double d;
    if (!number(value, &d) || d <= 0) return false;
    number_text(out, exp2(-1 / d));
    return true;
}

/* Turns of the assistant to calls: the last turn makes none. */
static bool turns_to_calls(const char *value, char out[64])
{
    double n;
    if (!number(value, &n) || n < 1 || n > 1048577 || n != floor(n)) return false;
    snprintf(out, 64, "%.0f", n - 1);
    return true;
}

static bool official_reward(const char *value, char out[64])
{
    snprintf(out, 64, "deep_research");
    return config_glob("*deep_research.py", value);
}

static bool resume_mode(const char *value, char out[64])
{
    snprintf(out, 64, "%s", !strcmp(value, "disable") ? "off" : "auto");
    /* config_verl.c reads these further */
    return !strcmp(value, "disable") || !strcmp(value, "auto") || !strcmp(value, "resume_path");
}

/* verl's two old names of the hermes form, and the names in files of ARPO and APPO, which write calls in tags. */
static bool call_format(const char *value, char out[64])
{
    snprintf(out, 64, "%s",
             !strcmp(value, "qwen") || !strcmp(value, "qwen25") ? "hermes"
             : !strcmp(value, "chatml")                         ? "tags"
                                                                : value);
    return true;
}

/* If two names of one key are given, the later row wins; the key itself wins over all of them. */
const struct config_rename config_renames[] = {
    { "model.enable_gradient_checkpointing", "model.recompute", NULL, NULL },
    { "actor.fsdp_config.optimizer_offload", "actor.offload", NULL, NULL },
    { "ref.fsdp_config.param_offload", "ref.offload", NULL, NULL },
    { "model.partial_pretrain", "model.path", NULL, NULL },
    { "actor.clip_ratio", "actor.clip_ratio_low", NULL, NULL },
    { "actor.clip_ratio", "actor.clip_ratio_high", NULL, NULL },
    { "actor.entropy_coef", "actor.entropy_coeff", NULL, NULL },
    { "actor.policy_loss.decay_rate", "advantage.future_gamma", half_life, "a half-life in tokens is needed" },
    { "actor.policy_loss.future_kl_clip_ratio", "advantage.future_clip_low", NULL, NULL },
    { "actor.policy_loss.future_kl_clip_ratio", "advantage.future_clip_high", NULL, NULL },
    { "actor.policy_loss.future_kl_weight", "advantage.future_weight", NULL, NULL },
    { "actor.policy_loss.safety_thresh", "advantage.future_safety", NULL, NULL },
    { "algorithm.norm_adv_by_std_in_grpo", "advantage.norm_by_std", NULL, NULL },
    { "algorithm.reward_scale_discount", "advantage.reward_scale_discount", NULL, NULL },
    { "rollout.reward_scale_discount", "advantage.reward_scale_discount", NULL, NULL },
    { "rollout.n_agent", "rollout.n", NULL, NULL },
    { "rollout.multi_turn.format", "tools.format", call_format, NULL },
    { "rollout.multi_turn.max_user_turns", "tools.call_limit", NULL, NULL },
    { "rollout.multi_turn.max_turns", "tools.call_limit", turns_to_calls, "a number of turns is needed" },
    { "rollout.multi_turn.max_assistant_turns", "tools.call_limit", turns_to_calls, "a number of turns is needed" },
    { "rollout.tools.call_limit", "tools.call_limit", NULL, NULL },
    { "rollout.tools.timeout", "tools.timeout", NULL, NULL },
    { "rollout.tools.max_workers", "tools.threads", NULL, NULL },
    { "rollout.tools.tool_instances.search.params.cache_file", "tools.search_cache", NULL, NULL },
    { "rollout.tools.tool_instances.search.params.max_results", "tools.max_pages", NULL, NULL },
    { "rollout.tools.tool_instances.search.params.result_length", "tools.max_chars", NULL, NULL },
    { "max_turns", "tools.call_limit", NULL, NULL },
    { "retriever.topk", "tools.max_pages", NULL, NULL },
    { "data.max_obs_length", "tools.max_tokens", NULL, NULL },
    { "data.shuffle_train_dataloader", "data.shuffle", NULL, NULL },
    { "data.reward_fn_key", "data.source_key", NULL, NULL },
    { "data.messages_key", "data.prompt_key", NULL, NULL },
    { "data.multiturn.messages_key", "data.prompt_key", NULL, NULL },
    { "data.response_key", "data.answer_key", NULL, NULL },
    { "trainer.max_ckpt_to_keep", "trainer.max_actor_ckpt_to_keep", NULL, NULL },
    { "trainer.resume_mode", "trainer.resume", resume_mode, "one of: auto, disable, resume_path" },
    { "custom_reward_function.path", "reward.kind", official_reward,
      "rewards of one's own are not built: reward.kind is task, exact or deep_research" },
    { "reward.custom_reward_function.path", "reward.kind", official_reward,
      "rewards of one's own are not built: reward.kind is task, exact or deep_research" },
    { NULL, NULL, NULL, NULL },
};

static const char parallel[] = "every rank has all weights; splitting a model over ranks is not built: 1 is possible",
                  lora[] = "LoRA is not built",
                  own_tools[] = "tools of one's own are not built: there are python and search (tools.search_cache)",
                  own_class[] = "classes of one's own are not built: rows are read as verl's Parquet or JSON lines",
                  manager[] = "managers of rewards: naive, dapo and batch give the same sum",
                  overlong[] = "a penalty for long responses (overlong buffer) is not built",
                  template[] = "the chat template is that of the model's folder, or model.chat_format";

/* The first pattern from the top that fits counts. neutral: values that ask for nothing, separated by '|', "<=N"
 * numbers up to N; NULL: any. A key that changes no number is ignored at any value. */
static const struct config_foreign rows[] = {
    /* features that we lack and that are off by default */
    { "critic.enable", "false", "critics are not built" },
    { "critic.*", NULL, NULL },
    { "reward_model.enable", "false", "reward models are not built" },
    { "reward_model.reward_manager", "naive|dapo|batch", manager },
    { "reward_model.overlong_buffer.enable", "false", overlong },
    { "reward_model.reward_kwargs.overlong_buffer_cfg.enable", "false", overlong },
    { "reward_model.sandbox_fusion.url", "", "sandboxes are not built" },
    { "reward_model.reward_loop_module_path", "", "rewards of one's own are not built" },
    { "reward_model.*", NULL, NULL },
    { "reward_manager.name", "naive|dapo|batch", manager },
    { "reward_manager.source", "register", "rewards of one's own are not built" },
    { "reward_manager.*", NULL, NULL },
    { "reward.reward_model.enable", "false", "reward models are not built" },
    { "reward.reward_manager.name", "naive|dapo|batch", manager },
    { "reward.reward_model.*", NULL, NULL },
    { "reward.reward_manager.*", NULL, NULL },
    { "reward.sandbox_fusion.url", "", "sandboxes are not built" },
    { "reward.sandbox_fusion.*", NULL, NULL },
    { "reward.num_workers", NULL, NULL },
    { "reward.custom_reward_function.name", "compute_score", "rewards of one's own are not built" },
    { "custom_reward_function.name", "compute_score", "rewards of one's own are not built" },
    { "custom_reward_function.reward_kwargs*", "", "rewards of one's own are not built" },

    /* several GPUs */
    { "*ulysses_sequence_parallel_size", "<=1", parallel },
    { "*tensor_model_parallel_size", "<=1", parallel },
    { "*pipeline_model_parallel_size", "<=1", parallel },
    { "*context_parallel_size", "<=1", parallel },
    { "*expert_model_parallel_size", "<=1", parallel },
    { "*expert_parallel_size", "<=1", parallel },
    { "rollout.data_parallel_size", "<=1", parallel },

    /* placement, memory, engines, profiling: no number depends on them */
    { "*._target_", NULL, NULL },
    { "*.fsdp_config.*", NULL, NULL },
    { "*.megatron.*", NULL, NULL },
    { "*.veomni*", NULL, NULL },
    { "*.profiler.*", NULL, NULL },
    { "*.profile.*", NULL, NULL },
    { "*micro_batch_size*", NULL, NULL },
    { "*use_dynamic_bsz", NULL, NULL },
    { "*use_torch_compile", NULL, NULL },
    { "*trust_remote_code", NULL, NULL },
    { "*use_shm", NULL, NULL },
    { "ref.*", NULL, NULL },
    { "hybrid_engine", NULL, NULL },
    { "nccl_timeout", NULL, NULL },
    { "hydra.*", NULL, NULL },
    { "ray_init.*", NULL, NULL },
    { "ray_kwargs.*", NULL, NULL },
    { "global_profiler.*", NULL, NULL },
    { "transfer_queue.enable", "false", "a transfer queue is not built" },
    { "transfer_queue.*", NULL, NULL },
    { "defaults", "_self_|ppo_trainer|ppo_trainer,_self_",
      "configurations put together from parts are not read: give one YAML file, --config FILE, or several of them" },

    { "async_training.*", "", "training while rollouts run is not built" },
    { "checkpoint.*", NULL, NULL },
    { "engine.*", NULL, NULL },

    { "data.prompt_dict_keys", "", "data.prompt_key names a column; what is inside one is not reached" },
    { "data.response_dict_keys", "", "data.answer_key names a column; what is inside one is not reached" },
    { "data.multiturn.enable", NULL, NULL },
    { "data.pad_mode", NULL, NULL },
    { "data.tokenizer", "", "the tokenizer is that of model.path" },
    { "data.val_batch_size", NULL, NULL },
    { "data.gen_batch_size", NULL, NULL },
    { "data.train_max_samples", "-1", "a part of the rows: give a shorter file" },
    { "data.val_max_samples", "-1", "a part of the rows: give a shorter file" },
    { "data.train_data_num", "", "a part of the rows: give a shorter file" },
    { "data.val_data_num", "", "a part of the rows: give a shorter file" },
    { "data.custom_cls.path", "", own_class },
    { "data.sampler.class_path", "", own_class },
    { "data.datagen.path", "", own_class },
    { "data.custom_cls.name", NULL, NULL },
    { "data.sampler.class_name", NULL, NULL },
    { "data.datagen.name", NULL, NULL },
    { "data.tool_config_path", "*search_cache.json", own_tools },
    { "data.apply_chat_template_kwargs*", "", template },
    { "data.dataloader_num_workers", NULL, NULL },
    { "data.filter_overlong_prompts_workers", NULL, NULL },
    { "data.return_*", NULL, NULL },
    { "data.validation_shuffle", NULL, NULL },
    { "data.image_*", NULL, NULL },
    { "data.video_key", NULL, NULL },

    { "model.lora_rank", "0", lora },
    { "model.lora.rank", "0", lora },
    { "model.lora_adapter_path", "", lora },
    { "model.lora*", NULL, NULL },
    { "model.target_modules", NULL, NULL },
    { "model.exclude_modules", NULL, NULL },
    { "model.tokenizer_path", "", "the tokenizer is that of model.path" },
    { "model.hf_config_path", "", "the configuration is that of model.path" },
    { "model.custom_chat_template", "", template },
    { "model.override_config.attn_implementation", NULL, NULL },
    { "model.override_config.moe_config.freeze_moe_router", "false", "mixtures of experts are not built" },
    { "model.torch_dtype", NULL, NULL },
    { "model.strategy", NULL, NULL },
    { "model.override_config*", "", "the model's configuration is that of its folder" },
    { "model.mtp.enable", "false", "prediction of several tokens is not built" },
    { "model.mtp.*", NULL, NULL },
    { "model.external_lib", NULL, NULL },
    { "model.use_remove_padding", NULL, NULL },
    { "model.use_liger", NULL, NULL },
    { "model.use_fused_kernels", NULL, NULL },
    { "model.fused_kernel_options.*", NULL, NULL },
    { "model.tiled_mlp.*", NULL, NULL },
    { "model.enable_activation_offload", NULL, NULL },

    { "actor.strategy", NULL, NULL },
    { "actor.load_weight", NULL, NULL },
    { "actor.tis_imp_ratio_cap", NULL, NULL },
    { "actor.checkpoint.*", NULL, NULL },
    { "actor.rollout_n", NULL, NULL },
    { "actor.tau_*", NULL, NULL },
    { "actor.freeze_vision_tower", NULL, NULL },
    { "actor.policy_loss.chunk_size", NULL, NULL },
    { "actor.policy_loss.clip_cov_*", NULL, NULL },
    { "actor.policy_loss.kl_cov_ratio", NULL, NULL },
    { "actor.policy_loss.ppo_kl_coef", NULL, NULL },
    { "actor.loss_scale_factor", "", "another denominator of seq-mean-token-sum-norm is not built" },
    { "actor.shuffle", "false", "mini-batches in another order than that of the batch are not built" },
    { "actor.data_loader_seed", NULL, NULL },
    { "actor.calculate_*", NULL, NULL },
    { "actor.sum_pi_squared_checkpointing", NULL, NULL },
    { "actor.use_prefix_grouper", NULL, NULL },
    { "actor.use_fused_kernels", NULL, NULL },
    { "actor.use_remove_padding", NULL, NULL },
    { "actor.entropy_from_logits_with_chunking", NULL, NULL },
    { "actor.entropy_checkpointing", NULL, NULL },
    { "actor.router_replay.mode", "disabled", "mixtures of experts are not built" },
    { "actor.router_replay.*", NULL, NULL },
    { "actor.state_masking", "true", "loss on tool results is not built" },
    { "actor.optim.lr_scheduler_type", "constant", "the rate is constant after the warm-up" },
    { "actor.optim.warmup_style", "constant", "the rate is constant after the warm-up" },
    { "actor.optim.lr_decay_style", "constant", "the rate is constant after the warm-up" },
    { "actor.optim.lr_warmup_init", "0", "the warm-up begins at lr / steps" },
    { "actor.optim.lr_decay_steps", NULL, NULL },
    { "actor.optim.lr_wsd_decay_*", NULL, NULL },
    { "actor.optim.weight_decay_incr_style", "constant", "the weight decay is constant" },
    { "actor.optim.use_checkpoint_opt_param_scheduler", NULL, NULL },
    { "actor.optim.min_lr*", NULL, NULL },
    { "actor.optim.num_cycles", NULL, NULL },
    { "actor.optim.total_training_steps", NULL, NULL },
    { "actor.optim.optimizer", "AdamW|adam", "the optimizer is AdamW" },
    { "actor.optim.optimizer_impl", "torch.optim", "the optimizer is AdamW" },
    { "actor.optim.override_optimizer_config.*offload*", NULL, NULL },
    { "actor.optim.override_optimizer_config.overlap_*", NULL, NULL },
    { "actor.optim.override_optimizer_config.use_precision_aware_optimizer", NULL, NULL },
    { "actor.optim.override_optimizer_config*", "", "the optimizer's other settings are AdamW's usual ones" },
    { "actor.optim.clip_grad", "1", "the limit of the gradient's norm is actor.grad_clip" },

    { "rollout.do_sample", "true", "greedy rollouts of a prompt are all the same" },
    { "rollout.ignore_eos", "false", "going on after the end of a text is not built" },
    { "rollout.use_fire_sampling", "false", "another kind of sampling is not built" },
    { "rollout.over_sample_rate", "0", "rollouts beyond the batch are not built" },
    { "rollout.skip_rollout", "false", "reading rollouts of another run is not built" },
    { "rollout.beam_size", "<=1",
      "ARPO's branching at entropy is not built: algorithm.adv_estimator=appo, or grpo without branches" },
    { "rollout.enable_dynamic_rollouts", "false", "AEPO's budget of rollouts by entropy is not built" },
    { "rollout.branch_probability", NULL, NULL },
    { "rollout.entropy_weight", NULL, NULL },
    { "rollout.quantization*", "", "quantised rollouts are not built" },
    { "rollout.enable_rollout_routing_replay", "false", "mixtures of experts are not built" },
    { "rollout.chat_scheduler", "", own_tools },
    { "rollout.agent.default_agent_loop", "single_turn_agent|tool_agent", "agent loops of one's own are not built" },
    { "rollout.agent.agent_loop_config_path", "", "agent loops of one's own are not built" },
    { "rollout.agent.custom_async_server.path", "", "servers of one's own are not built" },
    { "rollout.agent.*", NULL, NULL },
    { "rollout.multi_turn.tool_config_path", "*search_cache.json", own_tools },
    { "rollout.multi_turn.interaction_config_path", "", "interactions (a user who answers) are not built" },
    { "rollout.multi_turn.max_tool_response_length", "256",
      "a limit in characters: give tools.max_tokens, in tokens, or tools.max_chars, characters of a page" },
    { "rollout.multi_turn.tool_response_truncate_side", "middle|left",
      "a result that is too long keeps its beginning" },
    { "rollout.multi_turn.max_parallel_calls", NULL, NULL },
    { "rollout.multi_turn.use_inference_chat_template", NULL, NULL },
    { "rollout.multi_turn.tokenization_sanity_check_mode", NULL, NULL },
    { "rollout.multi_turn.num_repeat_rollouts", "", "the number of rollouts is rollout.n" },
    { "rollout.tools.retry_count", NULL, NULL },
    { "rollout.tools.verbose_logging", NULL, NULL },
    { "rollout.tools.fail_on_error", NULL, NULL },
    { "rollout.tools.tool_instances.search.class_path", "*SearchTool", own_tools },
    { "rollout.tools.tool_instances.python.class_path", "*PythonTool", own_tools },
    { "rollout.tools.tool_instances.search.params.*", NULL, NULL },
    { "rollout.tools.tool_instances.python.params.*", NULL, NULL },
    { "rollout.tools.tool_instances.*", "", own_tools },
    { "rollout.nnodes", "<=0", "samplers of their own are not built: every rank samples and trains" },
    { "rollout.n_gpus_per_node", NULL, NULL },
    { "rollout.layer_name_map.*", NULL, NULL },
    { "rollout.name", NULL, NULL },
    { "rollout.mode", NULL, NULL },
    { "rollout.dtype", NULL, NULL },
    { "rollout.prompt_length", NULL, NULL },
    { "rollout.response_length", NULL, NULL },
    { "rollout.gpu_memory_utilization", NULL, NULL },
    { "rollout.enforce_eager", NULL, NULL },
    { "rollout.cudagraph_capture_sizes", NULL, NULL },
    { "rollout.free_cache_engine", NULL, NULL },
    { "rollout.load_format", NULL, NULL },
    { "rollout.layered_summon", NULL, NULL },
    { "rollout.enable_chunked_prefill", NULL, NULL },
    { "rollout.enable_prefix_caching", NULL, NULL },
    { "rollout.disable_log_stats", NULL, NULL },
    { "rollout.multi_stage_wake_up", NULL, NULL },
    { "rollout.logprobs_mode", NULL, NULL },
    { "rollout.scheduling_policy", NULL, NULL },
    { "rollout.calculate_log_probs", NULL, NULL },
    { "rollout.log_prob_*", NULL, NULL },
    { "rollout.engine_kwargs*", NULL, NULL },
    { "rollout.checkpoint_engine.*", NULL, NULL },
    { "rollout.prometheus.*", NULL, NULL },
    { "rollout.trace.*", NULL, NULL },
    { "rollout.skip_*", NULL, NULL },
    { "rollout.limit_images", NULL, NULL },
    { "rollout.mtp*", NULL, NULL },

    { "algorithm.lam", NULL, NULL },
    { "algorithm.kl_penalty", NULL, NULL },
    { "algorithm.kl_ctrl.*", NULL, NULL },
    { "algorithm.use_pf_ppo", "false", "preference feedback is not built" },
    { "algorithm.pf_ppo.*", NULL, NULL },
    { "algorithm.filter_groups.enable", "false",
      "dynamic sampling (drawing more prompts where all rewards of a group are equal) is not built" },
    { "algorithm.filter_groups.*", NULL, NULL },
    { "algorithm.rollout_correction.loss_type", "ppo_clip", "the loss is the clipped ratio" },
    { "algorithm.rollout_correction.*", NULL, NULL },
    { "algorithm.rollout_is*", NULL, NULL },
    { "algorithm.no_think_rl", "false", "training without thoughts is not built" },
    { "algorithm.state_masking.*", NULL, NULL },

    { "trainer.val_only", "false", "./run.sh eval evaluates alone" },
    { "trainer.default_hdfs_dir", "", "checkpoints go to a folder, trainer.default_local_dir" },
    { "trainer.max_critic_ckpt_to_keep", NULL, NULL },
    { "trainer.checkpoint.*", NULL, NULL },
    { "trainer.balance_batch", NULL, NULL },
    { "trainer.critic_warmup", NULL, NULL },
    { "trainer.device", NULL, NULL },
    { "trainer.log_val_generations", NULL, NULL },
    { "trainer.esi_redundant_time", NULL, NULL },
    { "trainer.del_local_ckpt_after_load", NULL, NULL },
    { "trainer.remove_previous_ckpt_in_save", NULL, NULL },
    { "trainer.ray_wait_register_center_timeout", NULL, NULL },
    { "trainer.use_legacy_worker_impl", NULL, NULL },
    { "trainer.profile_steps", NULL, NULL },
    { "trainer.worker_nsight_options*", NULL, NULL },
    { "trainer.controller_nsight_options*", NULL, NULL },

    { "retriever.url", "", "search over HTTP is not built: recorded searches, tools.search_cache=FILE" },
    { "retriever.*", NULL, NULL },
    { "do_search", "true", "tools.call_limit=0 leaves them out" },
    { NULL, NULL, NULL },
};

/* Keys that config_verl.c reads together with others, and what they do. */
static const struct { const char *key, *is; } read_together[] = {
    { "actor.enable_entropy_balanced_advantage", "AEPO's: true is advantage.entropy_weight=0.2" },
    { "actor.enable_entropy_balanced_clipping", "AEPO's: true is actor.policy_loss.loss_mode=aepo" },
    { "actor.enable_policy_loss_gspo", "AEPO's: true is actor.policy_loss.loss_mode=gspo" },
    { "actor.optim.betas", "[a,b] is actor.optim.beta1=a actor.optim.beta2=b" },
    { "actor.policy_loss.cispo_clip_ratio_high", "actor.clip_ratio_high where actor.policy_loss.loss_mode=cispo" },
    { "actor.policy_loss.cispo_clip_ratio_low", "actor.clip_ratio_low where actor.policy_loss.loss_mode=cispo" },
    { "actor.policy_loss.future_kl_clip_high_only", "true is advantage.future_clip_low=0" },
    { "data.max_start_length", "the prompt of Search-R1: data.max_prompt_length, which there is the whole context" },
    { "rollout.appo_dynamic_branching",
      "true is algorithm.preset=official; false is rejected: branches that the engine chooses while it decodes are not "
      "built" },
    { "rollout.max_model_len", "rollout.max_len, at most data.max_prompt_length + data.max_response_length" },
    { "rollout.multi_turn.enable", "false is tools.call_limit=0 tools.format=tags data.system_prompt=none" },
    { "rollout.val_kwargs.do_sample", "false is rollout.val_kwargs.temperature=0" },
    { "trainer.resume_from_path", "the folder of trainer.resume_mode=resume_path: trainer.resume=DIR/global_step_N" },
    { NULL, NULL },
};

const char *config_together(const char *key)
{
    for (int i = 0; read_together[i].key; i++)
        if (!strcmp(read_together[i].key, key)) return read_together[i].is;
    return NULL;
}

bool config_is_together(const char *key) { return config_together(key) != NULL; }

const struct config_foreign *config_foreign(const char *key)
{
    for (const struct config_foreign *f = rows; f->pattern; f++)
        if (config_glob(f->pattern, key)) return f;
    return NULL;
}

/* '*' matches any bytes. Backtracks to the last star only, so that the time is at most text length times pattern
 * length. */
bool config_glob(const char *pattern, const char *text)
{
    const char *star = NULL, *from = NULL;
    while (*text) {
        if (*pattern == '*') star = ++pattern, from = text;
        else if (*pattern == *text) pattern++, text++;
        else if (star) pattern = star, text = ++from;
        else return false;
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

/* 1.0 is 1, True is true */
static bool same(const char *want, size_t n, const char *value)
{
    char text[128];
    double a, b;
    snprintf(text, sizeof text, "%.*s", (int)n, want);
    if (!strncmp(text, "<=", 2)) return number(text + 2, &a) && number(value, &b) && b <= a;
    if (number(text, &a) && number(value, &b)) return a == b;
    return !strcasecmp(text, value) || config_glob(text, value);
}

bool config_neutral(const struct config_foreign *f, const char *value)
{
    static const char *const nothing[] = { "", "null", "none", "{}", "[]", "???" };
    if (!f->neutral) return true;
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (!strcasecmp(value, nothing[i])) return true;
    for (const char *p = f->neutral; *p; ) {
        size_t n = strcspn(p, "|");
        if (same(p, n, value)) return true;
        p += n + (p[n] == '|');
    }
    return false;
}

/* Names of other programs that are not near ours by edit distance. */
const char *config_other_name(const char *name)
{
    static const char *const names[][2] = {
        { "seed", "trainer.seed" }, { "steps", "trainer.total_training_steps" }, { "report", "trainer.report" },
        { "lr", "actor.optim.lr" }, { "out", "sft.save" }, { "model", "model.path" },
        { "learning_rate", "actor.optim.lr" }, { "num_generations", "rollout.n" },
        { "max_completion_length", "data.max_response_length" }, { "max_new_tokens", "data.max_response_length" },
        { "num_train_epochs", "trainer.total_epochs" }, { "max_steps", "trainer.total_training_steps" },
        { "model_name_or_path", "model.path" }, { "model_name", "model.path" },
        { "output_dir", "trainer.default_local_dir" }, { "save_steps", "trainer.save_freq" },
        { "eval_steps", "trainer.test_freq" }, { "report_to", "trainer.logger" }, { "beta", "actor.kl_loss_coef" },
        { "epsilon", "actor.clip_ratio_low" }, { "epsilon_high", "actor.clip_ratio_high" },
        { "num_iterations", "actor.ppo_epochs" }, { "loss_type", "actor.loss_agg_mode" },
        { "scale_rewards", "advantage.norm_by_std" }, { "warmup_steps", "actor.optim.lr_warmup_steps" },
        { "max_grad_norm", "actor.grad_clip" }, { "per_device_train_batch_size", "actor.ppo_max_token_len_per_gpu" },
        { "gradient_checkpointing", "model.recompute" }, { "dataset_name", "data.train_files" },
        { "adam_beta1", "actor.optim.beta1" }, { "adam_beta2", "actor.optim.beta2" },
        { "weight_decay", "actor.optim.weight_decay" }, { "run_name", "trainer.experiment_name" },
        { "num_rollout", "trainer.total_training_steps" }, { "n_samples_per_prompt", "rollout.n" },
        { "rollout_batch_size", "data.train_batch_size" }, { "rollout_max_response_len", "data.max_response_length" },
        { "hf_checkpoint", "model.path" }, { "prompt_data", "data.train_files" }, { "input_key", "data.prompt_key" },
        { "label_key", "data.answer_key" }, { "eps_clip", "actor.clip_ratio_low" },
        { "eps_clip_high", "actor.clip_ratio_high" },
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i][0], name)) return names[i][1];
    return NULL;
}
