/* run_report.c: a run's result as JSON, as the commands print it. */
#include "engine/run/run_report.h"

json_t *run_report_json(const struct run_report *r, const struct config *c)
{
    json_t *o = json_object();
    json_object_set_new(o, "before", r->has_before ? eval_json(&r->before) : json_null());
    json_object_set_new(o, "after", r->has_after ? eval_json(&r->after) : json_null());
    json_object_set_new(o, "steps", json_integer(r->steps));
    json_object_set_new(o, "wall_s", json_real(r->wall_s));
    json_object_set_new(o, "tokens_generated", json_integer(r->tokens_generated));
    json_object_set_new(o, "tokens_trained", json_integer(r->tokens_trained));
    json_object_set_new(o, "rollout_probs_diff_max", json_real(r->probs_diff_max));
    json_object_set_new(o, "skipped_steps", json_integer(r->skipped));
    json_object_set_new(o, "config", config_json(c));
    return o;
}
