package forgekey_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
)

// FuzzVerifyForgeSignature: whatever the signature is, the answer is one of few;
// and only the very signatures that the forges made are accepted, since nobody else
// has the keys.
func FuzzVerifyForgeSignature(f *testing.F) {
	var keys []forgekey.Key
	var made [][]byte
	for name, forge := range forges(f) {
		key := forge.Key(name)
		keys = append(keys, key)
		for _, content := range []string{payload, "other"} {
			armored := must(forge.Sign([]byte(content)))(f)
			made = append(made, armored)
			f.Add(armored)
		}
	}
	// What the strict reader lets through must reach the stages behind it, so
	// packets without armor are tried too.
	for _, seed := range []string{
		"", "-----BEGIN PGP SIGNATURE-----\n\n=AAAA\n-----END PGP SIGNATURE-----\n", "-----BEGIN SSH SIGNATURE-----\n\n-----END SSH SIGNATURE-----\n",
		"\xc2\x00", "\x89\x00\x00", "\xc2\xff\xff\xff\xff\xff", "SSHSIG\x00\x00\x00\x01\x00\x00\x00\x00",
		"\xc2\x0a\x04\x00\x16\x08\x00\x02\x01\x04\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, armored := range [][]byte{data, forgekeytest.ArmorPGP("PGP SIGNATURE", data), forgekeytest.ArmorSSH(data)} {
			key, err := forgekey.Verify(keys, []byte(payload), armored)
			known := errors.Is(err, forgekey.ErrMalformed) || errors.Is(err, forgekey.ErrUnknownKey) || errors.Is(err, forgekey.ErrBadSignature)
			if err != nil && (!known || key.Name != "") {
				t.Fatalf("%q: %v", key.Name, err)
			}
			genuine := func(good []byte) bool {
				return bytes.Equal(bytes.TrimRight(good, "\n"), bytes.TrimRight(armored, "\n"))
			}
			if err == nil && !slices.ContainsFunc(made, genuine) && !reencoded(made, data) {
				t.Fatalf("%q is said to have signed %q", key.Name, armored)
			}
		}
	})
}

// reencoded says that the data are the content of a made signature, or that
// signature in lines of another length or without its checksum.
func reencoded(made [][]byte, data []byte) bool {
	return slices.ContainsFunc(made, func(good []byte) bool {
		a, errA := forgekey.Unarmor(good)
		b, errB := forgekey.Unarmor(data)
		return errA == nil && (bytes.Equal(a, data) || errB == nil && bytes.Equal(a, b))
	})
}

// FuzzCheckForgeKey: a key that may be listed is one that Verify can work with.
func FuzzCheckForgeKey(f *testing.F) {
	for name, forge := range forges(f) {
		key := forge.Key(name)
		f.Add(key.Type, key.Fingerprint, key.PublicKey)
	}
	f.Add("ssh", "SHA256:", "ssh-ed25519 AAAA")
	f.Fuzz(func(t *testing.T, kind, fingerprint, public string) {
		key := forgekey.Key{Name: "fuzzed", Type: kind, Fingerprint: fingerprint, PublicKey: public}
		err := forgekey.Check(key)
		if err != nil && !errors.Is(err, forgekey.ErrKey) && !errors.Is(err, forgekey.ErrMalformed) {
			t.Fatal(err)
		}
		if err == nil && (kind != "pgp" && kind != "ssh" || fingerprint == "") {
			t.Fatalf("%+v can be listed", key)
		}
	})
}
