package forgekey

import "strings"

// Unarmor lets tests compare what two armored signatures hold.
func Unarmor(armored []byte) ([]byte, error) {
	text := strings.TrimRight(string(armored), "\n") + "\n"
	if Kind(armored) == PGP {
		return unarmor("PGP SIGNATURE", text)
	}
	return unarmor("SSH SIGNATURE", text)
}
