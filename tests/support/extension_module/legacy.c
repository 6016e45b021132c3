/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Finalizers that only C can write: legacy.Old has a tp_del, legacy.Final a tp_finalize. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

struct linked {
	PyObject_HEAD
	PyObject *link;
};

static int traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(((struct linked *)self)->link);
#if PY_VERSION_HEX >= 0x03090000
	Py_VISIT(Py_TYPE(self));
#endif
	return 0;
}

static int clear(PyObject *self)
{
	Py_CLEAR(((struct linked *)self)->link);
	return 0;
}

static void dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	PyObject_GC_UnTrack(self);
	clear(self);
	type->tp_free(self);
	Py_DECREF(type);
}

static void last_words(PyObject *self)
{
	(void)self;
}

static PyMemberDef members[] = {
	{"link", T_OBJECT, offsetof(struct linked, link), 0, NULL},
	{NULL, 0, 0, 0, NULL},
};

#define SLOTS {Py_tp_traverse, traverse}, {Py_tp_clear, clear}, {Py_tp_dealloc, dealloc}, \
	      {Py_tp_members, members}
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC)

static PyType_Slot old_slots[] = {SLOTS, {Py_tp_del, last_words}, {0, NULL}};
static PyType_Slot final_slots[] = {SLOTS, {Py_tp_finalize, last_words}, {0, NULL}};
static PyType_Spec old_spec = {"legacy.Old", sizeof(struct linked), 0, FLAGS, old_slots};
static PyType_Spec final_spec = {"legacy.Final", sizeof(struct linked), 0, FLAGS, final_slots};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "legacy", NULL, -1,
					NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_legacy(void)
{
	PyObject *module = PyModule_Create(&definition);

	PyModule_AddObject(module, "Old", PyType_FromSpec(&old_spec));
	PyModule_AddObject(module, "Final", PyType_FromSpec(&final_spec));
	return module;
}
