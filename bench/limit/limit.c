// What the kernel alone takes: the system calls that a mount cannot do without, and nothing around them. It speaks the
// lines of bench/peer/lines:
//
//	userns BASE                       a child in a new user namespace, its maps written, its namespace taken, reaped
//	bind SOURCE TARGET                read-only: open_tree, mount_setattr, move_mount; umount2
//	overlay TARGET LAYER...           fsopen, a lowerdir+ each, fsmount, move_mount; umount2
//	mapped BASE TARGET PARENT NAME... the same, of layers below an idmapped clone of their parent; with its namespace
//	remapped TARGET PARENT NAME...    the same, with the namespace of the last `mapped`
//	image TARGET FILE                 a loop device, ext4 on it; umount2
//
// and prepares what others measure, where a program is quicker than a script:
//
//	files DIRECTORY COUNT             empty files, 1000 to a directory
//	mounts DIRECTORY COUNT            a tmpfs there, and bind mounts of it on directories in it
//	nothing                           what the asking takes
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// sys/mount.h and linux/mount.h do not go together before glibc 2.37.
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#define MS_BIND 4096
#define PIDFD_GET_USER_NAMESPACE 0xFF09
#define MANY 1024

static char failure[8192];

// Gives -1, with what failed and why in `failure`.
static int fail(const char *what) {
	snprintf(failure, sizeof failure, "%s: %s", what, strerror(errno));
	return -1;
}

static int write_map(pid_t pid, const char *name, const char *base) {
	char path[64], map[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	int length = snprintf(map, sizeof map, "0 %s 65536\n", base);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) return fail(path);
	int written = write(fd, map, length);
	close(fd);
	return written == length ? 0 : fail("write");
}

static int idle(void *unused) {
	for (;;) pause();
	return unused != NULL;
}

static int user_namespace(const char *base) {
	static char *stack;
	if (!stack) stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	int pidfd = -1;
	pid_t pid = clone(idle, stack + 65536, CLONE_VM | CLONE_NEWUSER | CLONE_PIDFD, NULL, &pidfd);
	if (pid < 0) return fail("clone");
	int fd = -1;
	if (write_map(pid, "uid_map", base) == 0 && write_map(pid, "gid_map", base) == 0) {
		fd = ioctl(pidfd, PIDFD_GET_USER_NAMESPACE, 0);
		if (fd < 0) fail("PIDFD_GET_USER_NAMESPACE");
	}
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	siginfo_t info;
	waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL);
	close(pidfd);
	return fd;
}

static int clone_tree(int at, const char *path, unsigned long long attributes, int namespace) {
	int fd = syscall(SYS_open_tree, at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0) return fail("open_tree");
	struct mount_attr attr = {.attr_set = attributes, .userns_fd = namespace};
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) == 0) return fd;
	close(fd);
	return fail("mount_setattr");
}

// Takes the fd.
static int attach(int fd, const char *target) {
	int moved = syscall(SYS_move_mount, fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
	close(fd);
	return moved == 0 ? 0 : fail("move_mount");
}

static int detach(const char *target) {
	return umount2(target, 0) == 0 ? 0 : fail("umount2");
}

// Takes the fd of the filesystem.
static int finish(int fs, const char *target) {
	int fd = -1;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0) fail("FSCONFIG_CMD_CREATE");
	else if ((fd = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0)) < 0) fail("fsmount");
	close(fs);
	return fd < 0 ? -1 : attach(fd, target);
}

static int bind_and_undo(char **args) {
	int fd = clone_tree(AT_FDCWD, args[0], MOUNT_ATTR_RDONLY, 0);
	return fd < 0 || attach(fd, args[1]) < 0 ? -1 : detach(args[1]);
}

// As strings, at most 255 bytes each, where there is no parent; else by fds below it.
static int overlay(const char *target, int parent, char **layers, int count) {
	int fs = syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	if (fs < 0) return fail("fsopen");
	for (int i = 0; i < count; i++) {
		int added;
		if (parent < 0) added = syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "lowerdir+", layers[i], 0);
		else {
			int layer = openat(parent, layers[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
			added = layer < 0 ? -1 : syscall(SYS_fsconfig, fs, FSCONFIG_SET_FD, "lowerdir+", NULL, layer);
			close(layer);
		}
		if (added != 0) {
			close(fs);
			return fail("lowerdir+");
		}
	}
	return finish(fs, target);
}

static int overlay_and_undo(char **args, int count) {
	return overlay(args[0], -1, args + 1, count - 1) < 0 ? -1 : detach(args[0]);
}

static int mapped_and_undo(int namespace, char **args, int count) {
	int parent = namespace < 0 ? -1 : clone_tree(AT_FDCWD, args[1], MOUNT_ATTR_IDMAP, namespace);
	if (parent < 0) return -1;
	int made = overlay(args[0], parent, args + 2, count - 2);
	close(parent);
	return made < 0 ? -1 : detach(args[0]);
}

static int attach_loop(const char *file, char *name, size_t size) {
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int backing = open(file, O_RDWR | O_CLOEXEC);
	int number = ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(name, size, "/dev/loop%d", number);
	int device = open(name, O_RDWR | O_CLOEXEC);
	struct loop_config config = {.fd = backing, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int configured = ioctl(device, LOOP_CONFIGURE, &config);
	close(control);
	close(backing);
	if (configured == 0) return device;
	close(device);
	return fail("LOOP_CONFIGURE");
}

static int image_and_undo(char **args) {
	char name[32];
	int device = attach_loop(args[1], name, sizeof name);
	if (device < 0) return -1;
	int fs = syscall(SYS_fsopen, "ext4", FSOPEN_CLOEXEC);
	int set = syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", name, 0);
	int made = set == 0 ? finish(fs, args[0]) : fail("source");
	// From here on the mount alone holds the device.
	close(device);
	return made < 0 ? -1 : detach(args[0]);
}

static int make_files(const char *directory, int count) {
	char path[4096];
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/%d", directory, i / 1000);
		if (i % 1000 == 0 && mkdir(path, 0755) != 0) return fail(path);
		snprintf(path, sizeof path, "%s/%d/%d", directory, i / 1000, i % 1000);
		if (mknod(path, S_IFREG | 0644, 0) != 0) return fail(path);
	}
	return 0;
}

static int make_mounts(const char *directory, int count) {
	char path[4096];
	if (mount("bench", directory, "tmpfs", 0, "nr_inodes=0,mode=755") != 0) return fail(directory);
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/%d", directory, i);
		if (mkdir(path, 0755) != 0) return fail(path);
	}
	snprintf(path, sizeof path, "%s/0", directory);
	char *source = strdup(path);
	for (int i = 1; i < count; i++) {
		snprintf(path, sizeof path, "%s/%d", directory, i);
		if (mount(source, path, NULL, MS_BIND, NULL) != 0) return fail(path);
	}
	free(source);
	return 0;
}

static int act(char **words, int count) {
	static int namespace = -1;
	const char *what = words[0];
	if (strcmp(what, "nothing") == 0) return 0;
	if (strcmp(what, "userns") == 0) {
		int fd = user_namespace(words[1]);
		return fd < 0 ? -1 : close(fd);
	}
	if (strcmp(what, "bind") == 0) return bind_and_undo(words + 1);
	if (strcmp(what, "overlay") == 0) return overlay_and_undo(words + 1, count - 1);
	if (strcmp(what, "mapped") == 0) {
		if (namespace >= 0) close(namespace);
		namespace = user_namespace(words[1]);
		return mapped_and_undo(namespace, words + 2, count - 2);
	}
	if (strcmp(what, "remapped") == 0) return mapped_and_undo(namespace, words + 1, count - 1);
	if (strcmp(what, "image") == 0) return image_and_undo(words + 1);
	if (strcmp(what, "files") == 0) return make_files(words[1], atoi(words[2]));
	if (strcmp(what, "mounts") == 0) return make_mounts(words[1], atoi(words[2]));
	snprintf(failure, sizeof failure, "no such act: %s", what);
	return -1;
}

int main(void) {
	static char line[1 << 17];
	while (fgets(line, sizeof line, stdin)) {
		char *words[MANY];
		int count = 0;
		line[strcspn(line, "\n")] = 0;
		for (char *word = strtok(line, "\t"); word && count < MANY; word = strtok(NULL, "\t")) words[count++] = word;
		struct timespec begun, ended;
		clock_gettime(CLOCK_MONOTONIC, &begun);
		int done = act(words, count);
		clock_gettime(CLOCK_MONOTONIC, &ended);
		long long took = (ended.tv_sec - begun.tv_sec) * 1000000000LL + ended.tv_nsec - begun.tv_nsec;
		if (done == 0) printf("ok\t%lld\n", took);
		else printf("error\t%s\n", failure);
		fflush(stdout);
	}
}
