package source

// SoundObject is for tests of what cannot be read.
func SoundObject(path string) bool { return soundObject(path) }
