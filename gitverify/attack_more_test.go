package gitverify_test

import (
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestAttacksOnWhatNamesStandFor(t *testing.T) {
	t.Parallel()
	policyAs := func(name, mode string, content func(s scene) string) attack {
		return attack{"C50", name, "policy/invalid", func(s scene) outcome {
			m := files(policyPath, "", mode+policyPath, content(s))
			return alone(s.commit("policy", m, s.anchor), s.commit("policy", files(policyPath, policyFile(2)), s.anchor))
		}}
	}
	runAttacks(t, []attack{
		{"A40", "tree that is a file", "obj/malformed", func(s scene) outcome {
			blob := s.put("blob", []byte("x"))
			return alone(s.put("commit", s.sign(unsigned(blob, "c", s.anchor), honest)), s.signed(honest))
		}},
		{"A40", "parent that is a tree", "obj/malformed", func(s scene) outcome {
			tree := s.tree(files("b", "1"))
			side := s.signed(honest)
			return outcome{s.commit("merge", files(), s.anchor, tree), tree, s.commit("merge", files(), s.anchor, side)}
		}},
		{"A40", "parent that is a tag of the right commit", "obj/malformed", func(s scene) outcome {
			side := s.signed(honest)
			body, err := s.virtual.SignTag([]byte("object "+string(side)+"\ntype commit\ntag v1\ntagger T <t@example.test> 1700000000 +0000\n\nv1\n"), honest)
			if err != nil {
				s.t.Fatal(err)
			}
			tag := s.put("tag", body)
			return outcome{s.commit("merge", files(), s.anchor, tag), tag, s.commit("merge", files(), s.anchor, side)}
		}},
		{"A41", "name of the tree in capitals", "obj/malformed", func(s scene) outcome {
			tree := string(s.tree(files("a", "1")))
			body := s.replaceOnce(s.body(), tree, strings.ToUpper(tree))
			return alone(s.put("commit", s.sign(body, honest)), s.signed(honest))
		}},
		{"A41", "name of a parent in capitals", "obj/malformed", func(s scene) outcome {
			side := s.commit("side", files("b", "1"), s.anchor)
			merge := unsigned(s.tree(files("b", "1")), "merge", s.anchor, side)
			loud := s.replaceOnce(merge, string(side), strings.ToUpper(string(side)))
			return alone(s.put("commit", s.sign(loud, honest)), s.put("commit", s.sign(merge, honest)))
		}},
		policyAs("policy that is a submodule", "160000 ", func(s scene) string { return string(s.anchor) }),
		{"C50", "policy that is a folder with a policy in it", "policy/invalid", func(s scene) outcome {
			m := files(policyPath, "", policyPath+"/policy.yaml", policyFile(2))
			return alone(s.commit("policy", m, s.anchor), s.commit("policy", files(policyPath, policyFile(2)), s.anchor))
		}},
		{"C50", "policy whose folder is a link to another with a good one", "policy/invalid", func(s scene) outcome {
			m := files(policyPath, "", "120000 factory-config/trust", "../other", "other/policy.yaml", policyFile(2))
			return alone(s.commit("policy", m, s.anchor), s.commit("policy", files(policyPath, policyFile(2)), s.anchor))
		}},
		{"C50", "policy in other case only", "policy/invalid", func(s scene) outcome {
			m := files(policyPath, "", "factory-config/trust/Policy.yaml", policyFile(2))
			return alone(s.commit("policy", m, s.anchor), s.commit("policy", files(policyPath, policyFile(2)), s.anchor))
		}},
	})
}

func TestAnUnfinishedPolicyChangeIsInForceForNobody(t *testing.T) { // row C51
	t.Parallel()
	s := strictScene(t)
	// Alice alone lets mallory in; mallory approves it and goes on.
	letIn := strings.Replace(strict("2"), "  - {name: robot,", `  - {name: mallory, person: mallory, issuer: "`+issuer+`", subject: mallory@factory.test, roles: [maintainer, security]}`+"\n  - {name: robot,", 1)
	tree := strictFiles(policyPath, letIn)
	change := s.by("alice", "let mallory in", tree, s.anchor)
	v := s.verifier()
	s.wantNo(v, request(s.anchor, change), "rule/threshold", change)
	byMallory := s.by("mallory", approveMain, tree, change)
	s.wantNo(v, request(s.anchor, byMallory), "id/subject", byMallory)

	// Once bob approves, it is in force from the next step on.
	approved := s.by("bob", approveMain, tree, change)
	s.wantYes(v, request(s.anchor, approved))
	s.wantYes(v, request(s.anchor, s.by("mallory", "docs", strictFiles(policyPath, letIn, "docs/x", "1"), approved)))
}

func TestAnApprovalCountsForTheTreeItSawOnly(t *testing.T) { // row C52
	t.Parallel()
	s := strictScene(t)
	good, evil := strictFiles("prod/a", "good"), strictFiles("prod/a", "evil")
	change := s.by("alice", "c", good, s.anchor)
	approve := func(tree map[string]string) gitverify.ID {
		return s.put("commit", s.sign(unsigned(s.tree(tree), approveMain, change), sigstoretest.SignOptions{Subject: bob}))
	}
	v := s.verifier()
	// An "approval" that swaps the content is a change, and bob's alone.
	swapped := approve(evil)
	s.wantNo(v, request(s.anchor, swapped), "rule/threshold", swapped)
	s.wantYes(v, request(s.anchor, approve(good)))
}
