// Package securepath opens directories and files for root at paths on which somebody
// else may have put something: a symbolic link, a hard link, a FIFO, another directory.
//
// A path is walked with one open directory after the other. Root follows a symbolic link
// only where root alone can have put it: root owns it, and every directory on the way to
// it. All else is done with the directory that the walk ended in, not with its name, so
// that nothing that is renamed or linked meanwhile leads elsewhere.
//
// A process that is not root lends nobody its rights: it follows links to a directory as
// the system does, and no link in the place of a file.
//
// On Windows access lists, not this package, say who may put something where: there it
// keeps to the directory that was opened (os.Root), and Chown does nothing.
package securepath

import "errors"

// The errors that say what is in the way.
var (
	ErrLink   = errors.New("is a symbolic link that users other than root may have created")
	ErrShared = errors.New("others than root can change it")
)
