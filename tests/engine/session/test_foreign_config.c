/* test_foreign_config.c: keys of other programs: what is taken, ignored and rejected, and with which words; keys that
 * have no effect; damaged arguments. */
#include "base/philox.h"
#include "base/str.h"
#include "engine/config/config_in.h"
#include "tests/check.h"
#include <stdlib.h>
#include <string.h>

/* args, separated by spaces, applied as a command line; what is said goes to said */
static bool applied(struct config *c, const char *args, char **said, struct err *e)
{
    struct settings s = { 0 };
    size_t n;
    char *words = xstrdup(args), *at = words, *word;
    FILE *say = open_memstream(said, &n);
    config_init(c);
    while ((word = strsep(&at, " "))) {
        char *equals = strchr(word, '=');
        if (!*word) continue;
        if (equals) *equals = 0;
        settings_add(&s, word, equals ? equals + 1 : "", "here");
        s.v[s.n - 1].gone = *word == '~';
        s.v[s.n - 1].null = equals && !strcmp(equals + 1, "null");
        if (s.v[s.n - 1].null) *s.v[s.n - 1].value = 0;
    }
    bool ok = config_apply(c, &s, say, e);
    fclose(say);
    settings_free(&s);
    free(words);
    return ok;
}

static const struct { const char *args, *key, *text, *error; } foreign_values[] = {
    { "actor.policy_loss.decay_rate=64.0", "advantage.future_gamma", "0.9892280131939755", NULL },
    { "actor.policy_loss.decay_rate=0", NULL, NULL,
      "actor.policy_loss.decay_rate=0 (here): a half-life in tokens is needed" },
    { "actor.policy_loss.decay_rate=x", NULL, NULL, "a half-life" },
    { "actor.policy_loss.future_kl_clip_ratio=0.3", "advantage.future_clip_low", "0.3", NULL },
    { "actor.policy_loss.future_kl_clip_high_only=True actor.policy_loss.future_kl_clip_ratio=0.3",
      "advantage.future_clip_low", "0", NULL },
    { "actor.policy_loss.future_kl_clip_high_only=True actor.policy_loss.future_kl_clip_ratio=0.3",
      "advantage.future_clip_high", "0.3", NULL },
    { "actor.policy_loss.future_kl_clip_high_only=maybe", NULL, NULL, "neither true nor false" },
    { "actor.policy_loss.future_kl_weight=1.0 actor.policy_loss.safety_thresh=4", "advantage.future_safety", "4",
      NULL },
    { "actor.policy_loss.loss_mode=future_kl", "advantage.future", "scale", NULL },
    { "actor.policy_loss.loss_mode=vanilla", "advantage.future", "off", NULL },
    { "actor.policy_loss.loss_mode=future_kl advantage.future=fipo", "advantage.future", "fipo", NULL },
    { "actor.policy_loss.loss_mode=future_kl", "actor.policy_loss.loss_mode", "vanilla", NULL },
    { "actor.policy_loss.loss_mode=ppo", "actor.policy_loss.loss_mode", "vanilla", NULL },
    { "actor.policy_loss.loss_mode=???", "advantage.future", "scale", NULL },
    { "actor.policy_loss.loss_mode=null", "advantage.future", "scale", NULL },
    { "actor_rollout_ref.actor.policy_loss.loss_mode=gspo", "actor.policy_loss.loss_mode", "gspo", NULL },
    { "actor.policy_loss.loss_mode=cispo", "advantage.future", "off", NULL },
    { "actor.policy_loss.loss_mode=cispo advantage.future=scale", "advantage.future", "scale", NULL },
    { "actor.policy_loss.loss_mode=cispo algorithm.preset=official", "advantage.future", "off", NULL },
    { "actor.policy_loss.loss_mode=cispo actor.policy_loss.cispo_clip_ratio_high=5 "
      "actor.policy_loss.cispo_clip_ratio_low=1", "actor.clip_ratio_high", "5", NULL },
    { "actor.policy_loss.loss_mode=cispo actor.policy_loss.cispo_clip_ratio_low=0.9", "actor.clip_ratio_low",
      "0.9", NULL },
    { "actor.policy_loss.loss_mode=cispo actor.policy_loss.cispo_clip_ratio_low=0.9 actor.clip_ratio_low=0.1",
      "actor.clip_ratio_low", "0.1", NULL },
    { "actor.policy_loss.cispo_clip_ratio_high=5", "actor.clip_ratio_high", "0.28", NULL },
    { "actor.policy_loss.loss_mode=clip_cov", NULL, NULL,
      "loss_mode=clip_cov (here): no such choice; valid: one of: vanilla/ppo/future_kl, gspo, cispo, gppo, aepo" },
    { "actor.enable_entropy_balanced_clipping=True", "actor.policy_loss.loss_mode", "aepo", NULL },
    { "actor.enable_entropy_balanced_clipping=True", "advantage.entropy_weight", "0.2", NULL },
    { "actor.enable_entropy_balanced_clipping=True", "advantage.future", "off", NULL },
    { "actor.enable_entropy_balanced_clipping=True actor.enable_entropy_balanced_advantage=False",
      "advantage.entropy_weight", "0", NULL },
    { "actor.enable_entropy_balanced_clipping=False actor.enable_entropy_balanced_advantage=True",
      "advantage.entropy_weight", "0.2", NULL },
    { "actor.enable_entropy_balanced_clipping=False", "actor.policy_loss.loss_mode", "vanilla", NULL },
    { "actor.enable_entropy_balanced_clipping=False", "advantage.future", "scale", NULL },
    { "actor.enable_policy_loss_gspo=True", "actor.policy_loss.loss_mode", "gspo", NULL },
    { "actor.enable_policy_loss_gspo=True actor.policy_loss.loss_mode=gspo", "actor.policy_loss.loss_mode", "gspo",
      NULL },
    { "actor.enable_policy_loss_gspo=True actor.policy_loss.loss_mode=gppo", NULL, NULL,
      "actor.enable_policy_loss_gspo=True (here): the loss gspo, but actor.policy_loss.loss_mode=gppo (here)" },
    { "actor.enable_entropy_balanced_clipping=True actor.policy_loss.loss_mode=vanilla", NULL, NULL,
      "the loss aepo, but actor.policy_loss.loss_mode=vanilla (here); give one of them" },
    { "actor.enable_entropy_balanced_clipping=True actor.enable_policy_loss_gspo=True", NULL, NULL,
      "the loss gspo, but actor.enable_entropy_balanced_clipping=True" },
    { "actor.enable_entropy_balanced_clipping=False actor.policy_loss.loss_mode=cispo",
      "actor.policy_loss.loss_mode", "cispo", NULL },
    { "actor.enable_policy_loss_gspo=perhaps", NULL, NULL, "neither true nor false" },
    { "rollout.enable_dynamic_rollouts=False", "rollout.n", "16", NULL },
    { "rollout.enable_dynamic_rollouts=True", NULL, NULL, "AEPO's budget of rollouts by entropy is not built" },
    { "algorithm.gamma=0.9 algorithm.adv_estimator=reinforce_plus_plus", "algorithm.gamma", "0.9", NULL },
    { "algorithm.adv_estimator=reinforce_plus_plus", "algorithm.adv_estimator", "reinforce_plus_plus", NULL },
    { "algorithm.adv_estimator=reinforce_pp", "algorithm.adv_estimator", "reinforce_plus_plus", NULL },
    { "algorithm.adv_estimator=reinforce_plus_plus_baseline", "algorithm.adv_estimator",
      "reinforce_plus_plus_baseline", NULL },
    { "algorithm.adv_estimator=grpo_passk", "algorithm.adv_estimator", "grpo_passk", NULL },
    { "algorithm.adv_estimator=grpo_vectorized", "algorithm.adv_estimator", "grpo", NULL },
    { "algorithm.adv_estimator=rloo", "algorithm.adv_estimator", "rloo", NULL },
    { "algorithm.adv_estimator=rloo_vectorized", "algorithm.adv_estimator", "rloo", NULL },
    { "algorithm.adv_estimator=opo", "algorithm.adv_estimator", "opo", NULL },
    { "algorithm.adv_estimator=remax", NULL, NULL,
      "algorithm.adv_estimator=remax (here): needs a greedy rollout of each prompt as its baseline, which is not "
      "built yet; valid: one of: appo, grpo/grpo_vectorized, grpo_passk, reinforce_plus_plus/reinforce_pp, " },
    { "algorithm.adv_estimator=gspo", NULL, NULL, "a loss, not an estimator: actor.policy_loss.loss_mode=gspo" },
    { "algorithm.adv_estimator=gpg", NULL, NULL, "no such choice; valid: one of: appo, grpo" },
    { "algorithm.norm_adv_by_std_in_grpo=False", "advantage.norm_by_std", "false", NULL },
    { "algorithm.norm_adv_by_std_in_grpo=perhaps", NULL, NULL, "algorithm.norm_adv_by_std_in_grpo=perhaps" },
    { "rollout.appo_dynamic_branching=True", "branch.when", "step", NULL },
    { "rollout.appo_dynamic_branching=True branch.when=minibatch", "branch.when", "minibatch", NULL },
    { "rollout.appo_dynamic_branching=True algorithm.preset=default", "branch.when", "minibatch", NULL },
    { "rollout.appo_dynamic_branching=False", NULL, NULL, "rollout.appo_dynamic_branching=false" },
    { "rollout.val_kwargs.do_sample=False rollout.val_kwargs.temperature=0.7", "rollout.val_kwargs.temperature",
      "0", NULL },
    { "rollout.val_kwargs.do_sample=True rollout.val_kwargs.temperature=0.7", "rollout.val_kwargs.temperature",
      "0.7", NULL },
    { "rollout.val_kwargs.do_sample=False rollout.val_kwargs.top_p=0.7", "rollout.val_kwargs.top_p", "1", NULL },
    { "rollout.multi_turn.max_assistant_turns=2", "tools.call_limit", "1", NULL },
    { "rollout.multi_turn.max_assistant_turns=null", "tools.call_limit", "5", NULL },
    { "rollout.multi_turn.max_assistant_turns=1.5", NULL, NULL, "a number of turns" },
    { "rollout.multi_turn.max_user_turns=7", "tools.call_limit", "7", NULL },
    { "rollout.multi_turn.max_user_turns=16 rollout.multi_turn.max_assistant_turns=16", "tools.call_limit", "15",
      NULL },
    { "rollout.multi_turn.max_assistant_turns=9 tools.call_limit=3", "tools.call_limit", "3", NULL },
    { "rollout.multi_turn.enable=False rollout.multi_turn.format=hermes", "tools.call_limit", "0", NULL },
    { "rollout.multi_turn.enable=False rollout.multi_turn.format=hermes", "tools.format", "tags", NULL },
    { "rollout.multi_turn.enable=True rollout.multi_turn.format=qwen", "tools.format", "hermes", NULL },
    { "rollout.multi_turn.enable=True rollout.multi_turn.format=chatml", "tools.format", "tags", NULL },
    { "max_turns=2 data.max_response_length=500 data.max_obs_length=300", "data.max_response_length", "2100",
      NULL },
    { "max_turns=2 data.max_response_length=500 data.max_obs_length=300", "tools.call_limit", "2", NULL },
    { "data.max_prompt_length=4096 data.max_start_length=2048", "data.max_prompt_length", "2048", NULL },
    { "rollout.n_agent=5 algorithm.adv_estimator=grpo", "rollout.n", "5", NULL },
    { "rollout.max_model_len=15000 data.max_prompt_length=4096 data.max_response_length=3000", "rollout.max_len",
      "7096", NULL },
    { "rollout.max_model_len=5000 data.max_prompt_length=4096 data.max_response_length=3000", "rollout.max_len",
      "5000", NULL },
    { "rollout.max_model_len=x", NULL, NULL, "not a whole number" },
    { "trainer.resume_mode=disable", "trainer.resume", "off", NULL },
    { "trainer.resume_mode=auto trainer.resume_from_path=a/global_step_3", "trainer.resume", "auto", NULL },
    { "trainer.resume_mode=resume_path trainer.resume_from_path=a/global_step_3", "trainer.resume",
      "a/global_step_3", NULL },
    { "trainer.resume_mode=resume_path", NULL, NULL, "needs trainer.resume_from_path" },
    { "trainer.resume_mode=never", NULL, NULL, "one of: auto, disable, resume_path" },
    { "actor.optim.betas=[0.8,0.99]", "actor.optim.beta1", "0.8", NULL },
    { "actor.optim.betas=0.8,0.99", "actor.optim.beta2", "0.99", NULL },
    { "actor.optim.betas=0.8", NULL, NULL, "two numbers" },
    { "actor.optim.betas=[0.8,0.99", NULL, NULL, "two numbers" },
    { "actor.optim.betas=[0.8,0.99]7", NULL, NULL, "two numbers" },
    { "actor.optim.betas=0.8,0.99,0.9", NULL, NULL, "two numbers" },
    /* what lies below every other key, by way of another key, the environment or another name */
    { "algorithm.preset=${trainer.project_name} trainer.project_name=paper", "data.train_batch_size", "128", NULL },
    { "algorithm.preset=${oc.env:APPO_NOT_THERE,paper}", "data.train_batch_size", "128", NULL },
    { "algorithm.preset=${oc.env:APPO_NOT_THERE}", NULL, NULL, "2 keys are rejected" },
    { "rollout.appo_dynamic_branching=${rollout.do_sample} rollout.do_sample=true", "branch.when", "step", NULL },
    { "model.path=${data.nothing}", "actor.optim.lr", "0.0003", NULL },
    { "model.path=/m", "actor.optim.lr", "1e-06", NULL },
    { "model.partial_pretrain=/m", "actor.optim.lr", "1e-06", NULL },
    { "actor.optim.lr_warmup_steps_ratio=0.1", "actor.optim.lr_warmup_steps", "-1", NULL },
    { "actor.optim.lr_warmup_steps_ratio=0.1 actor.optim.lr_warmup_steps=7", "actor.optim.lr_warmup_steps", "7",
      NULL },
    { "actor.clip_ratio=0.1 actor.clip_ratio_high=0.3", "actor.clip_ratio_high", "0.3", NULL },
    { "actor.clip_ratio_high=0.3 actor.clip_ratio=0.1", "actor.clip_ratio_high", "0.3", NULL },
    { "actor.clip_ratio_high=0.3 actor.clip_ratio=0.1", "actor.clip_ratio_low", "0.1", NULL },
    { "custom_reward_function.path=/x/deep_research.py", "reward.kind", "deep_research", NULL },
    { "custom_reward_function.path=null", "reward.kind", "task", NULL },
    { "rollout.tools.call_limit=3 rollout.tools.max_workers=64", "tools.threads", "64", NULL },
    { "rollout.tools.tool_instances.search.params.cache_file=~/c.json", "tools.search_cache", "/h/c.json", NULL },
    { "trainer.logger=[wandb]", "trainer.logger", "console", NULL },
    { "trainer.logger=['console','wandb','tensorboard',mlflow]", "trainer.logger", "console,tensorboard", NULL },
    /* null, removal, later ones, interpolation */
    { "trainer.total_training_steps=7 trainer.total_training_steps=null", "trainer.total_training_steps", "40",
      NULL },
    { "data.val_files=null", "data.val_files", "", NULL },
    { "data.seed=null trainer.rollout_data_dir=null", "data.seed", "-1", NULL },
    { "trainer.rollout_data_dir=null", "trainer.rollout_data_dir", "", NULL },
    { "rollout.n=9 ~rollout.n", "rollout.n", "16", NULL },
    { "rollout.n=9 ~rollout.n ++rollout.n=11", "rollout.n", "11", NULL },
    { "~rollout.nn", NULL, NULL, "rollout.nn (here): no such option. Did you mean rollout.n" },
    { "rollout.name=???", "rollout.n", "16", NULL },
    { "rollout.n=???", "rollout.n", "16", NULL },
    { "trainer.experiment_name=e trainer.default_local_dir=c/${trainer.project_name}/${trainer.experiment_name}",
      "trainer.default_local_dir", "c/appo/e", NULL },
    { "rollout.n=8 actor.ppo_mini_batch_size=${rollout.n} data.train_batch_size=16", "actor.ppo_mini_batch_size",
      "8", NULL },
    { "actor_rollout_ref.rollout.n=8 actor_rollout_ref.rollout.initial_rollouts=${.n}", "rollout.initial_rollouts",
      "8", NULL },
    { "actor.ppo_epochs=3 actor.optim.lr_warmup_steps=${..ppo_epochs}", "actor.optim.lr_warmup_steps", "3", NULL },
    { "rollout.n=${oc.select:data.nothing,7}", "rollout.n", "7", NULL },
    { "rollout.n=${oc.select:data.nothing,${rollout.initial_rollouts}}", "rollout.n", "4", NULL },
    { "rollout.n=${oc.select:data.nothing}", "rollout.n", "16", NULL },
    { "trainer.project_name=a-${oc.env:HOME}-b", "trainer.project_name", "a-/h-b", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,x}", "trainer.project_name", "x", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,'a.b'}", "trainer.project_name", "a.b", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,\"x'y\"}", "trainer.project_name", "x'y", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE,''}/c", "trainer.project_name", "/c", NULL },
    { "trainer.project_name=${oc.env:APPO_NOT_THERE}", NULL, NULL, "${oc.env:APPO_NOT_THERE} is not" },
    { "trainer.project_name=${now:%Y}", NULL, NULL,
      "trainer.project_name=${now:%Y} (here): ${now:%Y} is not understood" },
    { "trainer.project_name=x${data.nothing}", NULL, NULL, "${data.nothing} is not set" },
    { "trainer.project_name=${trainer.project_name}", NULL, NULL, "names itself" },
    { "trainer.project_name=x${trainer.experiment_name} trainer.experiment_name=y${trainer.project_name}", NULL,
      NULL, "keys are rejected" },
    { "trainer.project_name=${trainer", NULL, NULL, "without }" },
    { "trainer.project_name=${}", NULL, NULL, "is not" },
    { "rollout.prompt_length=${anything:at_all}", "rollout.n", "16", NULL },
    { "model.lora_rank=${model.nothing}", "rollout.n", "16", NULL },
    /* neutral and other values of what is not built */
    { "model.lora_rank=0", "rollout.n", "16", NULL },
    { "model.lora_rank=8", NULL, NULL, "model.lora_rank=8 (here): LoRA is not built" },
    { "actor_rollout_ref.model.lora_rank=8", NULL, NULL, "model.lora_rank=8 (here): LoRA is not built" },
    { "reward_model.enable=false", "rollout.n", "16", NULL },
    { "reward_model.enable=True", NULL, NULL, "reward models are not built" },
    { "trainer.nnodes=1 trainer.n_gpus_per_node=1 rollout.tensor_model_parallel_size=1", "rollout.n", "16", NULL },
    { "trainer.nnodes=2", "trainer.nnodes", "2", NULL },
    { "trainer.n_gpus_per_node=8", "trainer.n_gpus_per_node", "8", NULL },
    { "actor.ulysses_sequence_parallel_size=2", NULL, NULL, "splitting a model over ranks is not built" },
    { "actor.megatron.tensor_model_parallel_size=4", NULL, NULL, "splitting a model over ranks is not built" },
    { "reward_model.rollout.tensor_model_parallel_size=2", "rollout.n", "16", NULL },
    { "actor.optim.clip_grad=1.0", "rollout.n", "16", NULL },
    { "actor.optim.clip_grad=0.5", NULL, NULL, "actor.grad_clip" },
    { "actor.optim.lr_scheduler_type=cosine", NULL, NULL, "constant after the warm-up" },
    { "actor.optim.warmup_style=null", "rollout.n", "16", NULL },
    { "actor.optim.optimizer=adam actor.optim.lr_decay_style=constant actor.optim.lr_warmup_init=0.0", "rollout.n",
      "16", NULL },
    { "actor_rollout_ref.actor.fsdp_config.optimizer_offload=True", "actor.offload", "optimizer", NULL },
    { "actor_rollout_ref.actor.fsdp_config.optimizer_offload=False", "actor.offload", "none", NULL },
    { "actor_rollout_ref.ref.fsdp_config.param_offload=True", "ref.offload", "true", NULL },
    { "actor_rollout_ref.model.enable_gradient_checkpointing=True", "model.recompute", "full", NULL },
    { "actor_rollout_ref.model.enable_gradient_checkpointing=False", "model.recompute", "none", NULL },
    { "+actor.optim.override_optimizer_config.optimizer_cpu_offload=True", "rollout.n", "16", NULL },
    { "+actor.optim.override_optimizer_config.eps=1e-5", NULL, NULL, "AdamW's usual ones" },
    { "actor.optim.lr_decay_style=cosine", NULL, NULL, "constant after the warm-up" },
    { "async_training.staleness_threshold=0.5", NULL, NULL, "is not built" },
    { "data.prompt_dict_keys=['question']", NULL, NULL, "data.prompt_key names a column" },
    { "rollout.nnodes=2", NULL, NULL, "samplers of their own are not built" },
    { "algorithm.adv_estimator=gae", NULL, NULL, "gae (here): needs a critic, which is not built yet" },
    { "rollout.tools.tool_instances.code.class_path=a.B", NULL, NULL, "tools of one's own" },
    { "data.apply_chat_template_kwargs={}", "rollout.n", "16", NULL },
    { "+data.apply_chat_template_kwargs.enable_thinking=False", NULL, NULL, "the chat template" },
    { "data.custom_cls.path=/x.py", NULL, NULL, "classes of one's own" },
    { "rollout.do_sample=False", NULL, NULL, "greedy rollouts" },
};

/* One key's value after a command line; error: instead, what the one problem says */
static void other_programs_values(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", "/h", 1), 0);
    for (size_t i = 0; i < sizeof foreign_values / sizeof *foreign_values; i++) {
        struct err e = { "" };
        struct config c;
        char text[64], *said = NULL;
        bool ok = applied(&c, foreign_values[i].args, &said, &e);
        if (foreign_values[i].error) {
            CHECK(!ok && strstr(e.text, foreign_values[i].error), "%s: \"%s\", want \"%s\"", foreign_values[i].args,
                  e.text, foreign_values[i].error);
        } else {
            CHECK(ok, "%s: %s", foreign_values[i].args, e.text);
            const char *got = config_text(&c, config_find(foreign_values[i].key), text);
            CHECK(!strcmp(got, foreign_values[i].text), "%s: %s is %s, want %s", foreign_values[i].args,
                  foreign_values[i].key, got, foreign_values[i].text);
        }
        free(said);
        config_free(&c);
    }
}

/* All that is wrong at once, what is ignored in one line, and what is meant otherwise */
static void what_is_said(void **state)
{
    (void)state;
    static const struct { const char *args, *said[4]; bool ok; } cases[] = {
        { "rollout.nn=1 model.lora_rank=8 rollout.n=x rollout.tensor_model_parallel_size=8",
          { "appo: rollout.nn (here): no such option. Did you mean rollout.n",
            "\nappo: model.lora_rank=8 (here): LoRA is not built\n",
            "\nappo: rollout.n=x (here): not a whole number; valid: 1 to 65536\n",
            "\nappo: rollout.tensor_model_parallel_size=8 (here): every rank has all weights; splitting a model over "
            "ranks is not built: 1 is possible\n" },
            false },
        { "actor.kl_loss_coef=0.1",
          { "warning: actor.kl_loss_coef=0.1 without actor.use_kl_loss=true: no KL in the loss (as in verl)\n" },
          true },
        { "trainer.logger=wandb",
          { "ignored in trainer.logger: wandb (metrics.jsonl and tensorboard have verl's names)\n" }, true },
        { "rollout.n=8", { "" }, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        char *said = NULL;
        bool ok = applied(&c, cases[i].args, &said, &e);
        CHECK(ok == cases[i].ok, "%s: %s", cases[i].args, e.text);
        for (int j = 0; j < 4 && cases[i].said[j]; j++)
            CHECK(*cases[i].said[j] ? strstr(said, cases[i].said[j]) != NULL : !*said, "%s: said \"%s\", want \"%s\"",
                  cases[i].args, said, cases[i].said[j]);
        if (!ok) CHECK(!strcmp(e.text, "4 keys are rejected; nothing was started"), "%s", e.text);
        free(said);
        config_free(&c);
    }
    struct err e = { "" };
    struct config c;
    char *said = NULL;
    CHECK(applied(&c,
                  "actor_rollout_ref.rollout.name=vllm critic.optim.lr=1e-5 critic.strategy=fsdp rollout.mode=async "
                  "trainer.default_local_dir=x algorithm.adv_estimator=grpo",
                  &said, &e),
          "%s", e.text);
    CHECK(strstr(said, "ignored, options of other engines: rollout.name, critic.* (2), rollout.mode\n"), "%s", said);
    CHECK(strstr(said, "meant otherwise than in verl: trainer.default_local_dir: checkpoints lie in it under "
                       "project_name/experiment_name"),
          "%s", said);
    CHECK(strstr(said, "not given, and other than verl's default: ") && strstr(said, "actor.optim.beta2=0.95 (verl: "
                                                                                     "0.999)"),
          "%s", said);
    free(said);
    config_free(&c);
}

/* A key that is given and that the estimator or the loss does not read */
static void what_has_no_effect(void **state)
{
    (void)state;
    static const struct { const char *args, *said; } cases[] = {
        { "algorithm.adv_estimator=grpo algorithm.gamma=0.9",
          "warning: algorithm.gamma=0.9 has no effect with algorithm.adv_estimator=grpo\n" },
        { "algorithm.adv_estimator=grpo algorithm.gamma=1", "" },
        { "algorithm.adv_estimator=reinforce_plus_plus algorithm.gamma=0.9 actor.clip_ratio_c=5", "" },
        { "algorithm.adv_estimator=rloo algorithm.norm_adv_by_std_in_grpo=False",
          "warning: advantage.norm_by_std=false has no effect with algorithm.adv_estimator=rloo\n" },
        { "algorithm.adv_estimator=grpo_passk algorithm.norm_adv_by_std_in_grpo=False", "" },
        { "algorithm.adv_estimator=grpo actor.policy_loss.loss_mode=gspo actor.clip_ratio_c=5",
          "warning: actor.clip_ratio_c has no effect with actor.policy_loss.loss_mode=gspo\n" },
        { "algorithm.adv_estimator=grpo actor.policy_loss.loss_mode=gppo actor.clip_ratio_c=5", "" },
        { "algorithm.adv_estimator=opo branch.points=2 branch.score=random rollout.initial_rollouts=2",
          "warning: no effect with algorithm.adv_estimator=opo, which makes no branches: rollout.initial_rollouts, "
          "branch.score, branch.points\n" },
        { "algorithm.adv_estimator=grpo algorithm.preset=official branch.entropy=full", "" },
        { "branch.gamma=0.5", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { "" };
        struct config c;
        char *said = NULL, *warned = NULL;
        size_t n;
        CHECK(applied(&c, cases[i].args, &said, &e), "%s: %s", cases[i].args, e.text);
        FILE *f = open_memstream(&warned, &n);
        CHECK(config_check(&c, f, &e), "%s: %s", cases[i].args, e.text);
        fclose(f);
        CHECK(!strcmp(warned, cases[i].said), "%s: said \"%s\"", cases[i].args, warned);
        free(said);
        free(warned);
        config_free(&c);
    }
}

/* Nothing to assert but that it returns: the sanitizer build looks on. */
static void words_survive_damage(void **state)
{
    (void)state;
    static const char words[] =
        "actor_rollout_ref.rollout.n=8 trainer.default_local_dir=a/${trainer.project_name}/${.experiment_name} "
        "trainer.logger=['console','wandb'] ~rollout.n "
        "actor.optim.betas=[0.9,0.999] rollout.max_len=${oc.select:data.x,${oc.env:HOME,5}} data.train_files=[~/a,b] "
        "max_turns=2 data.max_response_length=500 model.lora_rank=null";
    struct rng r = rng_make(1, 2, 0);
    char text[sizeof words];
    int rejected = 0;
    for (int i = 0; i < 1500; i++) {
        struct err e = { "" };
        struct config c;
        char *said = NULL;
        memcpy(text, words, sizeof words);
        for (int k = 0; k < 1 + i % 4; k++)
            text[rng_below(&r, sizeof words - 1)] = "$${}}[],.:~'\"=+ null0-"[rng_below(&r, 22)];
        bool ok = applied(&c, text, &said, &e);
        CHECK(ok || *e.text, "%s", text);
        rejected += !ok;
        free(said);
        config_free(&c);
    }
    CHECK(rejected > 300 && rejected < 1500, "%d of 1500 rejected", rejected);
}

static void patterns(void **state)
{
    (void)state;
    static const struct { const char *pattern, *text; bool fits; } cases[] = {
        { "", "", true }, { "", "a", false }, { "a", "", false }, { "*", "", true }, { "*", "abc", true },
        { "a*", "abc", true }, { "a*", "ba", false }, { "*c", "abc", true }, { "*c", "abcd", false },
        { "a*c", "abcabc", true }, { "a*b*c", "axxbxxc", true }, { "a*b*c", "axxcxxb", false },
        { "*.fsdp_config.*", "actor.fsdp_config.x", true }, { "*.fsdp_config.*", "fsdp_config.x", false },
        { "**a**", "bab", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(config_glob(cases[i].pattern, cases[i].text) == cases[i].fits, "%s, %s", cases[i].pattern, cases[i].text);
    struct str p = { 0 }, t = { 0 };
    for (int i = 0; i < 2000; i++) str_puts(&p, "*a"), str_puts(&t, "aaaaaaaa");
    str_putc(&p, 'b');
    CHECK(!config_glob(p.p, t.p), "many stars");
    str_free(&p);
    str_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_programs_values), cmocka_unit_test(what_is_said),
        cmocka_unit_test(what_has_no_effect), cmocka_unit_test(words_survive_damage),
        cmocka_unit_test(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
