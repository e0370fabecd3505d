package gitverify_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"millwright.dev/millwright/gitverify"
)

// A frontier is not synced to the disk when it is written: after a power loss
// any part of it may be missing or filled with zeroes. That must cost time only.
func TestATornFrontierCostsTimeAndNothingElse(t *testing.T) {
	t.Parallel()
	s := strictScene(t)
	evil := s.put("commit", unsigned(s.tree(strictFiles("docs/x", "evil")), "unsigned", s.anchor))
	tip := s.by("alice", "c", strictFiles("docs/x", "2"), s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor))
	file := filepath.Join(t.TempDir(), "f")
	s.wantYes(s.kept(file, "k", "1"), request(s.anchor, tip))
	found, err := filepath.Glob(file + "-*")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	zeroes := func(from int) []byte { return append(bytes.Clone(data[:from]), make([]byte, len(data)-from)...) }
	torn := map[string][]byte{
		"K13 zero length":         {},
		"K13 zeroes":              zeroes(0),
		"K13 its end are zeroes":  zeroes(len(data) / 2),
		"K13 garbage":             bytes.Repeat([]byte{0xfe, '\n'}, 3000),
		"K13 a line without end":  bytes.Repeat([]byte("x"), 1<<20),
		"K13 written twice":       append(bytes.Clone(data), data...),
		"K13 with a garbage tail": append(bytes.Clone(data), "\x00\x00 {}\n"...),
	}
	for i := 1; i < len(data); i += max(len(data)/40, 1) {
		torn[fmt.Sprintf("K13 torn at byte %06d", i)] = data[:i]
	}
	for name, content := range torn {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(found[0], content, 0o600); err != nil {
				t.Fatal(err)
			}
			v := s.kept(file, "k", "1")
			s.wantNo(v, request(s.anchor, evil), "sig/missing", evil)
			s.wantYes(v, request(s.anchor, tip))
			if now, err := os.ReadFile(found[0]); err != nil || !bytes.Equal(now, data) {
				t.Errorf("it was not written anew: %v", err)
			}
		})
	}
}

// A disk that fails is not believed, neither before nor after it took the bytes:
// the answers are the same, and what was written is begun anew.
func TestADiskThatFailsUnderAFrontierChangesNoAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		point string
		err   error
	}{
		"K14 no space is left":                 {gitverify.PointBeforeFrontier, syscall.ENOSPC},
		"K15 the disk fails":                   {gitverify.PointBeforeFrontier, syscall.EIO},
		"K15 the file system is read-only":     {gitverify.PointBeforeFrontier, syscall.EROFS},
		"K15 no file can be opened":            {gitverify.PointBeforeFrontier, syscall.EMFILE},
		"K16 the disk fails after the writing": {gitverify.PointAfterFrontier, syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := strictScene(t)
			file := filepath.Join(t.TempDir(), "f")
			failures, failing := 0, true
			v := s.verifierWith(gitverify.Options{
				FrontierFile: file, FrontierKey: bytes.Repeat([]byte("k"), 32), Build: "1",
				Interrupt: func(point string) error {
					if point == c.point && failing {
						failures++
						return c.err
					}
					return nil
				},
			})
			one := s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor)
			evil := s.put("commit", unsigned(s.tree(strictFiles("docs/x", "evil")), "unsigned", one))
			s.wantYes(v, request(s.anchor, one))
			s.wantNo(v, request(s.anchor, evil), "sig/missing", evil)
			if failures == 0 {
				t.Fatal("the disk never failed")
			}
			kept, err := filepath.Glob(file + "*")
			if err != nil || len(kept) > 0 == (c.point == gitverify.PointBeforeFrontier) {
				t.Errorf("kept are %v, %v", kept, err)
			}
			s.wantYes(s.kept(file, "k", "1"), request(s.anchor, one))
			failing = false
			two := s.by("alice", "c", strictFiles("docs/x", "2"), one)
			s.wantYes(v, request(s.anchor, two))
			before := s.reads
			s.wantYes(s.kept(file, "k", "1"), request(s.anchor, two))
			if n := s.reads - before; n > 8 {
				t.Errorf("after the disk was mended nothing was kept: %d objects were read", n)
			}
		})
	}
}

// TestAFrontierThatCouldNotBeWrittenIsWrittenAsAWholeLater: what is kept begins at
// the anchor, whatever could not be written before.
func TestAFrontierThatCouldNotBeWrittenIsWrittenAsAWholeLater(t *testing.T) { // rows K15, C25
	t.Parallel()
	for name, interrupt := range map[string]func(string) error{"with points": func(string) error { return nil }, "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := strictScene(t)
			folder := filepath.Join(t.TempDir(), "not there yet")
			file := filepath.Join(folder, "f")
			v := s.verifierWith(gitverify.Options{
				FrontierFile: file, FrontierKey: bytes.Repeat([]byte("k"), 32), Build: "1", Interrupt: interrupt,
			})
			one := s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor)
			two := s.by("alice", "c", strictFiles("docs/x", "2"), one)
			s.wantYes(v, request(s.anchor, one))
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			s.wantYes(v, request(s.anchor, two))
			before := s.reads
			s.wantYes(s.kept(file, "k", "1"), request(s.anchor, two))
			if n := s.reads - before; n > 8 {
				t.Errorf("nothing was kept: %d objects were read", n)
			}
		})
	}
}

// TestAFrontierOfWhichTheDiskTookNothingIsWrittenAsAWholeLater writes to a device that
// is always full.
func TestAFrontierOfWhichTheDiskTookNothingIsWrittenAsAWholeLater(t *testing.T) { // row K14
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("SKIPPED: this system has no device that is always full")
	}
	s := strictScene(t)
	file := filepath.Join(t.TempDir(), "f")
	one := s.by("alice", "c", strictFiles("docs/x", "1"), s.anchor)
	two := s.by("alice", "c", strictFiles("docs/x", "2"), one)
	s.wantYes(s.kept(file, "k", "1"), request(s.anchor, one))
	kept, err := filepath.Glob(file + "*")
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	swap := func(do func() error) {
		if err := errors.Join(os.Remove(kept[0]), do()); err != nil {
			t.Fatal(err)
		}
	}
	swap(func() error { return os.Symlink("/dev/full", kept[0]) })
	v := s.kept(file, "k", "1")
	s.wantYes(v, request(s.anchor, one))
	swap(func() error { return nil })
	s.wantYes(v, request(s.anchor, two))
	before := s.reads
	s.wantYes(s.kept(file, "k", "1"), request(s.anchor, two))
	if n := s.reads - before; n > 8 {
		t.Errorf("nothing was kept: %d objects were read", n)
	}
}

// TestAReadThatFailsWhileAFrontierIsTakenUpTurnsNoAnswer: what was kept names
// policies, which are read again.
func TestAReadThatFailsWhileAFrontierIsTakenUpTurnsNoAnswer(t *testing.T) { // row C25
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	one := s.commit("one", files("a", "1", gitverify.DefaultPolicyPath, policyFile(2)), s.anchor)
	two := s.commit("two", files("a", "2", gitverify.DefaultPolicyPath, policyFile(2)), one)
	file := filepath.Join(t.TempDir(), "f")
	s.wantYes(s.kept(file, "k", "1"), request(s.anchor, one))
	kept, err := filepath.Glob(file + "*")
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	content, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	stumbles(t, "continued", true, s, func(o gitverify.Objects) error {
		if err := os.WriteFile(kept[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := gitverify.Forgetful(s.kept(file, "k", "1")).Verify(t.Context(), o, request(s.anchor, two))
		return err
	})
}
