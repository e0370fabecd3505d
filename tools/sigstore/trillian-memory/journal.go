package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Why a journal is not opened. An operator finds these words in the log; nothing
// is served, since a log that forgets is worse than one that is away.
var (
	errDamaged  = errors.New("JournalDamaged")
	errInUse    = errors.New("JournalInUse")
	errOtherLog = errors.New("JournalOfAnotherLog")
)

const (
	// journalHeader begins the file and names the log. Its length never changes.
	journalHeader = "millwright log journal 1, log %019d\n"
	// recordHead is three numbers of 32 bits, little endian: the length of what
	// follows, its CRC-32C, and the CRC-32C of these two. The last is why a length
	// that was damaged is not taken for a record that was cut short, which would
	// cut off all records after it.
	recordHead = 12
	// maxRecord bounds a record in bytes: Trillian takes requests of 4 MiB.
	maxRecord = 8 << 20
)

// disk is where a journal is written: a file, or in tests one that fails.
type disk interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// journal is a file of records that is only ever appended to. It is not safe for
// concurrent use.
type journal struct {
	disk   disk
	size   int64
	torn   int64 // bytes at its end that were no whole record, and are gone
	broken error
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// append returns once the record is on the disk. When it fails, the record is not
// in the journal; but if the disk does not even take it back, or does not say what
// it has (after a failed fsync nobody knows), the journal is broken for good and
// only reading it again can tell.
func (j *journal) append(payload []byte) error {
	if j.broken != nil {
		return j.broken
	}
	if len(payload) > maxRecord {
		return fmt.Errorf("a record of %d bytes is longer than %d", len(payload), maxRecord)
	}
	record := make([]byte, recordHead, recordHead+len(payload))
	binary.LittleEndian.PutUint32(record, uint32(len(payload)))
	binary.LittleEndian.PutUint32(record[4:], castagnoli(payload))
	binary.LittleEndian.PutUint32(record[8:], castagnoli(record[:8]))
	record = append(record, payload...)
	if _, err := j.disk.WriteAt(record, j.size); err != nil {
		if undo := j.disk.Truncate(j.size); undo != nil {
			j.broken = fmt.Errorf("taking back half a record: %w", undo)
		}
		return fmt.Errorf("writing the journal: %w", err)
	}
	if err := j.disk.Sync(); err != nil {
		j.broken = fmt.Errorf("syncing the journal: %w", err)
		return j.broken
	}
	j.size += int64(len(record))
	return nil
}

// openJournal gives all records of the log's journal to replay, in their order,
// and makes the journal if there is none. A record that the end of the file cuts
// short was never answered for, and is removed; whatever else is wrong is
// [errDamaged]. The file is ours until the process ends, however it ends.
func openJournal(dir string, log int64, replay func([]byte) error) (*journal, error) {
	path := filepath.Join(dir, fmt.Sprintf("%d.journal", log))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createJournal(dir, path, log); err == nil {
			file, err = os.OpenFile(path, os.O_RDWR, 0)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	j := &journal{disk: file}
	if err := j.read(file, log, replay); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return j, nil
}

// createJournal sees to it that there never is a journal without its header, and
// that its name is on the disk before anything in it is.
func createJournal(dir, path string, log int64) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := fmt.Fprintf(file, journalHeader, log); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func (j *journal) read(file *os.File, log int64, replay func([]byte) error) error {
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%w: %w", errInUse, err)
	}
	in := bufio.NewReaderSize(file, 1<<20)
	want := fmt.Appendf(nil, journalHeader, log)
	header := make([]byte, len(want))
	if _, err := io.ReadFull(in, header); err != nil {
		return fmt.Errorf("%w: reading its header: %w", errDamaged, err)
	}
	if !bytes.Equal(header, want) {
		if n := int64(0); scanHeader(header, &n) {
			return fmt.Errorf("%w: it is of log %d", errOtherLog, n)
		}
		return fmt.Errorf("%w: it has no header", errDamaged)
	}
	size := int64(len(header))
	for {
		payload, err := readRecord(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = replay(payload)
		}
		if err != nil {
			return fmt.Errorf("%w: record at byte %d: %w", errDamaged, size, err)
		}
		size += recordHead + int64(len(payload))
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	j.size, j.torn = size, info.Size()-size
	if err := file.Truncate(size); err != nil {
		return err
	}
	// Also what an earlier process wrote and did not sync is on the disk now,
	// before anybody sees it.
	return file.Sync()
}

func scanHeader(header []byte, log *int64) bool {
	_, err := fmt.Sscanf(string(header), journalHeader, log)
	return err == nil
}

// readRecord returns io.EOF for the end of the journal, be it one that is torn:
// the file ends within the record, or has nothing but zeros, which is what some
// file systems leave of a write that a power cut came between.
func readRecord(in *bufio.Reader) ([]byte, error) {
	var head [recordHead]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, endOf(err)
	}
	if castagnoli(head[:8]) != binary.LittleEndian.Uint32(head[8:]) {
		if head == [recordHead]byte{} && onlyZeros(in) {
			return nil, io.EOF
		}
		return nil, errors.New("its head has another checksum")
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length > maxRecord {
		return nil, fmt.Errorf("%d bytes are more than any record has", length)
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(in, payload); err != nil {
		return nil, endOf(err)
	}
	if castagnoli(payload) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, errors.New("it has another checksum")
	}
	return payload, nil
}

func endOf(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

func onlyZeros(in *bufio.Reader) bool {
	for {
		switch b, err := in.ReadByte(); {
		case err != nil:
			return errors.Is(err, io.EOF)
		case b != 0:
			return false
		}
	}
}
