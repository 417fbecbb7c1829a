package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// A fileSystem is what the store asks of the operating system, which does all of it but
// in tests: there it fails, and forgets what was not synced.
type fileSystem interface {
	MkdirAll(path string, mode fs.FileMode) error
	OpenFile(path string, flag int, mode fs.FileMode) (file, error)
	Link(path, as string) error
	Rename(path, as string) error
	Remove(path string) error
	RemoveAll(path string) error
	ReadNames(path string) ([]string, error) // of what is in a directory
	Lstat(path string) (fs.FileInfo, error)
	SyncDir(path string) error // makes the names in a directory last
}

// A file is an open one.
type file interface {
	io.Reader
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// system is the file system of the machine.
type system struct{}

func (system) MkdirAll(path string, mode fs.FileMode) error { return os.MkdirAll(path, mode) }
func (system) Link(path, as string) error                   { return os.Link(path, as) }
func (system) Rename(path, as string) error                 { return os.Rename(path, as) }
func (system) Remove(path string) error                     { return os.Remove(path) }
func (system) RemoveAll(path string) error                  { return os.RemoveAll(path) }
func (system) Lstat(path string) (fs.FileInfo, error)       { return os.Lstat(path) }

// OpenFile does not wait for the other end of a pipe.
func (system) OpenFile(path string, flag int, mode fs.FileMode) (file, error) {
	return os.OpenFile(path, flag|syscall.O_NONBLOCK, mode)
}

func (system) ReadNames(path string) ([]string, error) {
	d, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (system) SyncDir(path string) error {
	d, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile returns what a file holds, or nil if there is none.
func readFile(fsys fileSystem, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	content := make([]byte, info.Size())
	if _, err = io.ReadFull(f, content); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return content, nil
}

// exists reports whether there is something at path.
func exists(fsys fileSystem, path string) (bool, error) {
	_, err := fsys.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// syncFile makes what a file has last, if it is there.
func syncFile(fsys fileSystem, path string) error {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// write writes a file that is not there yet, and makes it last, but for its name. If it
// fails, nothing is left of it.
func write(fsys fileSystem, path string, content []byte) error {
	f, err := fsys.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(content, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = fsys.Remove(path) // on a full disk nothing else would
	}
	return err
}
