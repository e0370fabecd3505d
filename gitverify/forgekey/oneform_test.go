package forgekey

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/ed25519"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"golang.org/x/crypto/ssh"
)

// The tests in this file hand each reader a form that only one of its conditions
// keeps out, and look at its own words: behind it other readers would refuse most
// of these forms with the same error.

func wantWords(t *testing.T, name string, err error, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case words != "" && (err == nil || !strings.Contains(err.Error(), words)):
		t.Errorf("%s: got %v, want %q", name, err, words)
	}
}

func TestArmorIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	block := func(label, body string) string {
		return "-----BEGIN " + label + "-----\n" + body + "\n-----END " + label + "-----\n"
	}
	const pgp, shell = "PGP SIGNATURE", "SSH SIGNATURE"
	const line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAx"
	for name, c := range map[string]struct{ label, text, words string }{
		"PGP":                   {pgp, block(pgp, "\n"+line+"\nQUJD"), ""},
		"SSH":                   {shell, block(shell, line+"\nQUJD"), ""},
		"another label":         {pgp, block(shell, "\n"+line), "not an armored"},
		"something behind":      {pgp, block(pgp, "\n"+line) + "x", "does not end, or something stands behind"},
		"a header":              {pgp, block(pgp, "Version: 1\n\n"+line), "the armor has headers"},
		"an empty line":         {shell, block(shell, line+"\n\nQUJD"), "line 2 of the armor"},
		"an empty line at last": {shell, block(shell, line+"\n"), "line 2 of the armor"},
		"a short line first":    {shell, block(shell, line+"\nQUJD\n"+line), "line 2 of the armor"},
		"a long line":           {shell, block(shell, line+line), "line 1 of the armor"},
		"no base64":             {shell, block(shell, "!!!!"), "not base64"},
		"a checksum of none":    {pgp, block(pgp, "\n!!!!\n=AAAA"), "not base64"},
		"a wrong checksum":      {pgp, block(pgp, "\n"+line+"\n=AAAA"), "the checksum of the armor is wrong"},
	} {
		_, err := unarmor(c.label, c.text)
		wantWords(t, name, err, c.words)
	}
	// What cannot be read is not held against the keys.
	for label, words := range map[string]string{pgp: "the armor has headers", shell: "line 2 of the armor"} {
		_, err := Verify(nil, nil, []byte(block(label, "Version: 1\n\n"+line)))
		wantWords(t, "a header in "+label, err, words)
	}
	_, err := Verify(nil, nil, []byte(block(shell, strings.Repeat("A", MaxSize))))
	wantWords(t, "a large signature", err, "a signature of more than")
	wantWords(t, "a large key", Check(Key{Type: SSH, PublicKey: strings.Repeat("A", MaxSize+1)}), "a public key of more than")
}

// area is a list of subpackets with its length before it.
func area(subs ...[]byte) []byte {
	all := slices.Concat(subs...)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...)
}

func sub(kind byte, content ...byte) []byte {
	return append([]byte{byte(len(content) + 1), kind}, content...)
}

func TestAPGPSignatureIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	name := bytes.Repeat([]byte{1}, 20)
	created, issuer, whole := sub(2, 0, 0, 0, 1), sub(16, name[12:]...), sub(33, append([]byte{4}, name...)...)
	other := sub(33, append([]byte{4, 2}, name[1:]...)...) // the same key id at its end
	head, eddsa, numbers := []byte{4, 0, 22, 8}, []byte{0, 1, 1, 0, 1, 1}, []byte{0xaa, 0xbb}
	body := func(signed, unsigned []byte) []byte { return slices.Concat(head, signed, unsigned, numbers, eddsa) }
	good := body(area(created, whole), area(issuer))
	const soon, belongs, nobody = "ends too soon", "critical, twice, not signed, or does not belong", "does not name its time and its key"
	for what, c := range map[string]struct {
		body  []byte
		words string
	}{
		"as it should be":                {good, ""},
		"nothing":                        {nil, "not a PGP signature of version 4"},
		"version 5":                      {append([]byte{5}, good[1:]...), "not a PGP signature of version 4"},
		"signed part that is cut":        {slices.Concat(head, []byte{0, 9, 1}), soon},
		"unsigned part that is cut":      {slices.Concat(head, area(created, whole), []byte{0, 9, 1}), soon},
		"no unsigned part":               {slices.Concat(head, area(created, whole), []byte{0}), soon},
		"no digest":                      {slices.Concat(head, area(created, whole), area(issuer), []byte{1}), soon},
		"signed part that is none":       {body(area([]byte{9, 1}), area(issuer)), "a PGP subpacket that cannot be read"},
		"unsigned part that is none":     {body(area(created, whole), area([]byte{9, 1})), "a PGP subpacket that cannot be read"},
		"no time":                        {body(area(whole), area(issuer)), nobody},
		"no key":                         {body(area(created), area()), nobody},
		"a key id alone":                 {body(area(created), area(issuer)), ""},
		"a fingerprint alone":            {body(area(created, whole), area()), ""},
		"an unsigned time":               {body(area(whole), area(created)), belongs},
		"the time twice":                 {body(area(created, created, whole), area()), belongs},
		"unsigned issuer twice":          {body(area(created), area(issuer, issuer)), belongs},
		"unsigned critical issuer":       {body(area(created), area(sub(0x80|16, name[12:]...))), belongs},
		"a critical remark":              {body(area(created, whole, sub(0x80|20, 1)), area()), belongs},
		"a remark":                       {body(area(created, whole, sub(20, 1)), area()), ""},
		"an unsigned remark":             {body(area(created, whole), area(sub(20, 1))), belongs},
		"a short key id":                 {body(area(created), area(sub(16, 1, 2))), "has not the name of a version 4 key"},
		"a fingerprint of version 6":     {body(area(created, sub(33, append([]byte{6}, name...)...)), area()), "has not the name of a version 4 key"},
		"two fingerprints of one key id": {body(area(created, whole, other), area()), "names two keys"},
		"two key ids":                    {body(area(created, whole), area(sub(16, 2, 2, 2, 2, 2, 2, 2, 2))), "names two keys"},
		"a padded number":                {slices.Concat(good[:len(good)-6], []byte{0, 8, 1, 0, 1, 1}), "not in its shortest form"},
		"a number that is cut":           {good[:len(good)-1], ErrMalformed.Error()},
		"bytes behind":                   {append(slices.Clone(good), 0), "bytes behind the PGP signature"},
		"Ed25519 of 63 bytes":            {slices.Concat([]byte{4, 0, 27, 8}, area(created, whole), area(), numbers, make([]byte, 63)), "an Ed25519 signature of 63 bytes"},
	} {
		_, err := splitPGP(c.body)
		wantWords(t, what, err, c.words)
	}
	packed := func(tag byte, body []byte) []byte { return append([]byte{0xc0 | tag, byte(len(body))}, body...) }
	for what, c := range map[string]struct {
		data  []byte
		words string
	}{
		"as it should be":   {packed(2, good), ""},
		"another packet":    {packed(13, good), "not exactly one PGP signature packet"},
		"two packets":       {slices.Concat(packed(2, good), packed(2, good)), "not exactly one PGP signature packet"},
		"no packet":         {[]byte{1}, "not a PGP packet"},
		"without an end":    {[]byte{0xc2, 224, 1}, "a PGP packet without an end"},
		"no signature":      {packed(2, good[:len(good)-6]), ErrMalformed.Error()},
		"a body of nothing": {packed(2, nil), "not a PGP signature of version 4"},
		"half a time":       {packed(2, body(area(sub(2, 0, 0), whole), area(issuer))), "PGP signature:"},
	} {
		_, err := parsePGP(c.data)
		wantWords(t, what, err, c.words)
	}
}

func TestAPGPSignatureIsOfTheKeyThatItNames(t *testing.T) {
	t.Parallel()
	fingerprint := bytes.Repeat([]byte{7}, 20)
	s := pgpSignature{issuer: binary.BigEndian.Uint64(fingerprint[12:]), fingerprint: fingerprint}
	short := pgpSignature{issuer: s.issuer}
	another := append([]byte{8}, fingerprint[1:]...) // with the same key id
	for what, c := range map[string]struct {
		s      pgpSignature
		listed string
		want   bool
	}{
		"its fingerprint":           {s, fmt.Sprintf("%X", fingerprint), true},
		"by key id alone":           {short, fmt.Sprintf("%X", another), true},
		"another with its key id":   {s, fmt.Sprintf("%X", another), false},
		"another":                   {short, strings.Repeat("09", 20), false},
		"a name that is no name":    {short, fmt.Sprintf("%X", fingerprint)[:39] + "g", false},
		"a name and a digit":        {short, fmt.Sprintf("%X0", fingerprint), false},
		"a name that is cut":        {short, fmt.Sprintf("%X", fingerprint[:19]), false},
		"a name with more than one": {short, fmt.Sprintf("%X%X", fingerprint, fingerprint), false},
	} {
		if c.s.names(c.listed) != c.want {
			t.Errorf("%s: %v", what, !c.want)
		}
	}
	public := &packet.PublicKey{PubKeyAlgo: packet.PubKeyAlgoEdDSA}
	sig := pgpSignature{Signature: &packet.Signature{PubKeyAlgo: packet.PubKeyAlgoRSA, Hash: crypto.SHA256}, padded: 256}
	if err := sig.verify(public, nil); err != ErrBadSignature { //nolint:errorlint // exactly this one
		t.Errorf("a signature by another algorithm than the key's: %v", err)
	}
}

// listedPGP is a key block with what the function makes of its packets.
func listedPGP(t *testing.T, change func(primary []byte) []byte) Key {
	t.Helper()
	entity, err := openpgp.NewEntity("forge", "", "forge@factory.test", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var primary, text bytes.Buffer
	if err := entity.PrimaryKey.Serialize(&primary); err != nil {
		t.Fatal(err)
	}
	w, err := armor.Encode(&text, "PGP PUBLIC KEY BLOCK", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(change(primary.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return Key{Name: "forge", Type: PGP, Fingerprint: fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint), PublicKey: text.String()}
}

func TestAListedPGPKeyIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	same := func(b []byte) []byte { return b }
	with := func(change func(*Key)) Key {
		k := listedPGP(t, same)
		change(&k)
		return k
	}
	for what, c := range map[string]struct {
		key   Key
		words string
	}{
		"as it should be":       {listedPGP(t, same), ""},
		"a fingerprint of 39":   {with(func(k *Key) { k.Fingerprint = k.Fingerprint[1:] }), "has 40 hex digits"},
		"a fingerprint of 41":   {with(func(k *Key) { k.Fingerprint += "0" }), "has 40 hex digits"},
		"a fingerprint of 38":   {with(func(k *Key) { k.Fingerprint = k.Fingerprint[2:] }), "has 40 hex digits"},
		"no key":                {with(func(k *Key) { k.PublicKey = "" }), "needs its armored public key"},
		"no armor":              {with(func(k *Key) { k.PublicKey = "x" }), "not an armored"},
		"a packet that is cut":  {listedPGP(t, func(b []byte) []byte { return b[:len(b)-1] }), "a PGP packet without an end"},
		"another key":           {with(func(k *Key) { k.Fingerprint = strings.Repeat("0", 40) }), "none of the keys in the block"},
		"a secret beside it":    {listedPGP(t, func(b []byte) []byte { return append(bytes.Clone(b), 0xc5, 1, 4) }), "a packet of type 5 does not belong"},
		"a key that is unknown": {listedPGP(t, func(b []byte) []byte { return slices.Concat([]byte{0xc6, 6, 4, 0, 0, 0, 1, 99}, b) }), ""},
	} {
		wantWords(t, what, Check(c.key), c.words)
	}
	// More material than a key may have, past the check in Check.
	large := listedPGP(t, same)
	large.PublicKey += strings.Repeat("\n", MaxSize)
	_, err := pgpKey(large)
	wantWords(t, "a large key", err, "needs its armored public key")
}

func TestOnlyAKeyThatIsReadWhollyIsOne(t *testing.T) {
	t.Parallel()
	key := packet.NewEd25519PublicKey(time.Unix(0, 0), &ed25519.PublicKey{Point: make([]byte, 32)})
	var fourth, sixth bytes.Buffer
	err := key.Serialize(&fourth)
	if err := errors.Join(err, key.UpgradeToV6(), key.Serialize(&sixth)); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		whole []byte
		want  bool
	}{
		"a key":                   {fourth.Bytes(), true},
		"of an unknown algorithm": {[]byte{0xc6, 6, 4, 0, 0, 0, 1, 99}, false},
		"of version 6":            {sixth.Bytes(), false},
		"a name":                  {[]byte{0xcd, 1, 'x'}, false},
	} {
		if _, ok := publicKey(framed{whole: c.whole}); ok != c.want {
			t.Errorf("%s: %v", what, ok)
		}
	}
}

func TestAnRSAKeyIsOfASizeThatCanBeReliedOn(t *testing.T) {
	t.Parallel()
	for bits, words := range map[int]string{
		1024: "an RSA key of 1024 bits", 2047: "an RSA key of 2047 bits", 2048: "", 8192: "", 8193: "an RSA key of 8193 bits",
	} {
		key := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), uint(bits-1)), E: 65537}
		wantWords(t, fmt.Sprintf("PGP, %d", bits), checkPGPKey(&packet.PublicKey{PubKeyAlgo: packet.PubKeyAlgoRSA, PublicKey: key}), words)
		wantWords(t, fmt.Sprintf("%d", bits), checkRSA(key), words)
	}
	wantWords(t, "none", checkPGPKey(&packet.PublicKey{PubKeyAlgo: packet.PubKeyAlgoRSA}), "an RSA key that cannot be read")
	if _, ok := rsaOf(nil); ok {
		t.Error("no key is an RSA key")
	}
}

func TestAnSSHSignatureIsRefusedForWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	field := func(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }
	head := sshMagic + "\x00\x00\x00\x01"
	good := head + field("key") + field("git") + field("") + field("sha512") + field("signature")
	for what, c := range map[string]struct{ data, words string }{
		"as it should be":  {good, ""},
		"version 2":        {sshMagic + "\x00\x00\x00\x02" + good[len(head):], "not an SSH signature of version 1"},
		"four fields":      {good[:len(good)-len(field("signature"))], "the SSH signature ends too soon"},
		"half a length":    {good[:len(good)-len(field("signature"))+2], "the SSH signature ends too soon"},
		"a field cut":      {good[:len(good)-1], "the SSH signature ends too soon"},
		"bytes behind":     {good + "x", "bytes behind"},
		"for a file":       {strings.Replace(good, field("git"), field("file"), 1), `for "file"`},
		"with reservation": {strings.Replace(good, field("")+field("sha512"), field("x")+field("sha512"), 1), "reserved bytes"},
	} {
		_, err := splitSSH([]byte(c.data))
		wantWords(t, what, err, c.words)
	}
	ed := field(ssh.KeyAlgoED25519) + field(strings.Repeat("k", 32))
	for what, c := range map[string]struct{ blob, words string }{
		"as it should be":   {ed, ""},
		"nothing":           {"", "an SSH key that cannot be read"},
		"a hardware key":    {field("sk-ssh-ed25519@openssh.com") + field("k"), "an SSH key of type"},
		"a key that is cut": {field(ssh.KeyAlgoED25519) + field("k"), "SSH key:"},
		"bytes behind":      {ed + "x", ErrMalformed.Error()},
	} {
		_, err := publicSSH([]byte(c.blob))
		wantWords(t, what, err, c.words)
	}
	public, err := publicSSH([]byte(ed))
	if err != nil {
		t.Fatal(err)
	}
	const unread = "the innermost SSH signature cannot be read"
	for what, c := range map[string]struct{ signature, words string }{
		"as it should be": {field(ssh.KeyAlgoED25519) + field("s"), ""},
		"nothing":         {"", unread},
		"a format alone":  {field(ssh.KeyAlgoED25519), unread},
		"bytes behind":    {field(ssh.KeyAlgoED25519) + field("s") + "x", unread},
		"another format":  {field(ssh.KeyAlgoRSA) + field("s"), "of format"},
	} {
		_, err := sshBlob{signature: []byte(c.signature)}.split(public)
		wantWords(t, what, err, c.words)
	}
	sum := base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	const form = "as ssh-keygen -l prints it"
	for what, c := range map[string]struct{ fingerprint, words string }{
		"as it should be":  {"SHA256:" + sum, ""},
		"another digest":   {"SHA512:" + sum, form},
		"no digest":        {sum, form},
		"no base64":        {"SHA256:" + sum[:42] + "!", form},
		"a shorter digest": {"SHA256:" + sum[:40], form},
		"padded":           {"SHA256:" + sum + "=", form},
	} {
		wantWords(t, what, checkSSH(Key{Fingerprint: c.fingerprint}), c.words)
	}
}
