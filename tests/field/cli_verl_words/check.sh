# words of verl's launch scripts, each alone: the value it comes to
value() { # NAME KEY VALUE ARGUMENT...
    local name=$1 key=$2 value=$3
    shift 3
    expect "$name" 0 "^${key//./\\.}: $value +#" "$app" train --print-config "$@"
}
value "wandb in the list of loggers" trainer.logger '"console"' "trainer.logger=['console','wandb']"
value "a number of steps that is null" trainer.total_training_steps 40 trainer.total_training_steps=null
value "files that are null" data.val_files '""' data.val_files=null
value "normalised by the deviation" advantage.norm_by_std false algorithm.norm_adv_by_std_in_grpo=False
value "greedy evaluation" rollout.val_kwargs.temperature 0 actor_rollout_ref.rollout.val_kwargs.do_sample=False
value "sampled evaluation" rollout.val_kwargs.temperature 0.6 rollout.val_kwargs.do_sample=True \
    rollout.val_kwargs.temperature=0.6
value "without resuming" trainer.resume '"off"' trainer.resume_mode=disable
value "resuming from" trainer.resume '"x/global_step_7"' trainer.resume_mode=resume_path \
    trainer.resume_from_path=x/global_step_7
value "KL by the switch alone" actor.kl_loss_coef 0.001 actor.use_kl_loss=True
value "a coefficient without the switch" actor.kl_loss_coef 0 actor.kl_loss_coef=0.001
value "a folder by another key" trainer.default_local_dir '"checkpoints/p/e"' trainer.project_name=p \
    trainer.experiment_name=e \
    'trainer.default_local_dir=checkpoints/${trainer.project_name}/${trainer.experiment_name}'
value "no dumps" trainer.rollout_data_dir '""' trainer.rollout_data_dir=null
expect "eight GPUs" 1 'n_gpus_per_node=8 .* ask for 8 ranks, and 1 was started: \./run\.sh train NPROC=8' \
    "$app" train trainer.n_gpus_per_node=8 trainer.nnodes=1
expect "a run with them" 0 '^step:1 ' "$app" train trainer.logger="['console','wandb']" data.val_files=null \
    algorithm.norm_adv_by_std_in_grpo=True trainer.resume_mode=disable \
    actor_rollout_ref.rollout.val_kwargs.do_sample=False data.val_per_family=1 --steps 1 \
    trainer.default_local_dir="$tmp/out"
check "nothing called null" test ! -e "$tmp/null" -a ! -e null
