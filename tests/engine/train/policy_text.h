/* policy_text.h: what the shipped policy answers, greedily, to the first held-out question of each family. Made anew
 * with the policy. */
{ FAM_ARITH, "<think> compute</think><python>18*2*9</python> <result>\n324\n</result><think> "
             "done</think><answer>\\boxed{324}</answer>" },
    { FAM_MOD, "<think> remainder</think><python>8**5%10</python> <result>\n8\n</result><think> "
               "done</think><answer>\\boxed{8}</answer>" },
    { FAM_LINEQ, "<think> easy</think><answer>\\boxed{5}</answer>" },
    { FAM_SEQ, "<think> constant step</think><python>74+74-55</python> <result>\n93\n</result><think> "
               "done</think><answer>\\boxed{93}</answer>" },
    { FAM_UNITS, "<think> times 12</think><python>65*12+7</python> <result>\n787\n</result><think> "
                 "done</think><answer>\\boxed{787}</answer>" },
    { FAM_ONEHOP, "<think> find score</think><search> dizimo</search> <result>\nPage 1: dizimo: rank 60, score 85, job "
                  "pilot.\n</result><think> score</think><answer>\\boxed{60}</answer>" },
    { FAM_BRIDGE, "<think> find boss</think><search> makuza</search> <result>\nPage 1: makuza: job baker, boss "
                  "fezite.\n</result><think> find score</think><search> fezite</search> <result>\nPage 1: fezite: rank "
                  "20, score 95.\n</result><think> score</think><answer>\\boxed{20}</answer>" },
    { FAM_COMPARE, "<think> find rank</think><search> rinoni</search> <result>\nPage 1: rinoni: score 90, rank "
                   "18.\n</result><think> rank 90, find rank</think><search> rizida</search> <result>\nPage 1: rizida: "
                   "rank 62, color black.\n</result><think> 90 more than 62, first</think><answer>\\boxed{ "
                   "rinima}</answer>" },
    { FAM_THREEHOP, "<think> find rival</think><search> gofopi</search> <result>\nPage 1: gofopi: job singer, rival "
                    "lidade.\n</result><think> find boss</think><search> lidade</search> <result>\nPage 1: lidade: "
                    "boss lafega, age 42.\n</result><think> find score</think><search> lafega</search> <result>\nPage "
                    "1: lafega: job guard, score 21.\n</result><think> score</think><answer>\\boxed{21}</answer>" },
    { FAM_DISTRACT, "<think> find score</think><search> meta</search> <result>\nPage 1: meta: job guard, score "
                    "56.\nPage 2: meta: job singer, score 48.\n</result><think> the singer: "
                    "score</think><answer>\\boxed{48}</answer>" },
    { FAM_LINKS, "<think> easy</think><answer>\\boxed{499}</answer>" },
    { FAM_GATHER, "<think> find rank</think><search> remipi</search> <result>\nPage 1: remipi: rank 43, age "
                  "77.\n</result><think> rank 43, find rank</think><search> galo</search> <result>\nPage 1: galo: rank "
                  "41, job farmer.\n</result><think> rank 41, compute</think><python>43+41</python> "
                  "<result>\n84\n</result><think> done</think><answer>\\boxed{84}</answer>" },
    { FAM_CONTRA, "<think> find age</think><search> kubo</search> <result>\nPage 1: kubo: source official, age "
                  "96.\nPage 2: kubo: source rumor, age 79.\n</result><think> trust "
                  "official</think><python>4*96</python> <result>\n384\n</result><think> "
                  "done</think><answer>\\boxed{384}</answer>" },
