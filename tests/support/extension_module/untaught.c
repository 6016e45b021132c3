/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An extension that nobody was taught. Pair keeps two objects at fixed places, Chain
 * any number in memory of its own; leak() is a missing Py_DECREF().
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>

/* Py_NewRef() is of 3.10. */
static PyObject *new_ref(PyObject *object)
{
	Py_INCREF(object);
	return object;
}

/* ---- Pair: first, second, and a word that looks like a reference and is none */

typedef struct {
	PyObject_HEAD
	PyObject *first, *second;
	PyObject *borrowed; /* the first one again, not counted */
} Pair;

static PyObject *pair_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *first, *second;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "OO", &first, &second))
		return NULL;

	Pair *self = (Pair *)type->tp_alloc(type, 0);

	if (!self)
		return NULL;
	self->first = new_ref(first);
	self->second = second == Py_None ? NULL : new_ref(second);
	self->borrowed = first;
	return (PyObject *)self;
}

static int pair_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(((Pair *)self)->first);
	Py_VISIT(((Pair *)self)->second);
	return 0;
}

static int pair_clear(PyObject *self)
{
	Py_CLEAR(((Pair *)self)->first);
	Py_CLEAR(((Pair *)self)->second);
	return 0;
}

static void pair_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	pair_clear(self);
	Py_TYPE(self)->tp_free(self);
}

static PyTypeObject pair_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "untaught.Pair",
	.tp_basicsize = sizeof(Pair),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
	.tp_new = pair_new,
	.tp_traverse = pair_traverse,
	.tp_clear = pair_clear,
	.tp_dealloc = pair_dealloc,
};

/* ---- Chain: a linked list on the C heap --------------------------------- */

struct link {
	struct link *next;
	PyObject *object;
};

typedef struct {
	PyObject_HEAD
	struct link *head;
} Chain;

static PyObject *chain_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	Chain *self = (Chain *)type->tp_alloc(type, 0);

	(void)kwargs;
	if (!self)
		return NULL;
	for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++) {
		struct link *link = malloc(sizeof(*link));

		if (!link) {
			Py_DECREF(self);
			return PyErr_NoMemory();
		}
		link->object = new_ref(PyTuple_GET_ITEM(args, i));
		link->next = self->head;
		self->head = link;
	}
	return (PyObject *)self;
}

static int chain_traverse(PyObject *self, visitproc visit, void *arg)
{
	for (const struct link *link = ((Chain *)self)->head; link; link = link->next)
		Py_VISIT(link->object);
	return 0;
}

static int chain_clear(PyObject *self)
{
	struct link *next, *link = ((Chain *)self)->head;

	((Chain *)self)->head = NULL;
	for (; link; link = next) {
		next = link->next;
		Py_DECREF(link->object);
		free(link);
	}
	return 0;
}

static void chain_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	chain_clear(self);
	Py_TYPE(self)->tp_free(self);
}

static PyTypeObject chain_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "untaught.Chain",
	.tp_basicsize = sizeof(Chain),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
	.tp_new = chain_new,
	.tp_traverse = chain_traverse,
	.tp_clear = chain_clear,
	.tp_dealloc = chain_dealloc,
};

/* ---- functions ----------------------------------------------------------- */

/* leak(object, count): references that nobody will ever give back. */
static PyObject *leak(PyObject *module, PyObject *args)
{
	PyObject *object;
	Py_ssize_t count;

	(void)module;
	if (!PyArg_ParseTuple(args, "On", &object, &count))
		return NULL;
	while (count-- > 0)
		Py_INCREF(object);
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	{"leak", leak, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "untaught",
	.m_size = -1,
	.m_methods = functions,
};

PyMODINIT_FUNC PyInit_untaught(void)
{
	PyObject *module = PyModule_Create(&definition);

	if (!module || PyType_Ready(&pair_type) < 0 || PyType_Ready(&chain_type) < 0)
		return NULL;
	PyModule_AddObject(module, "Pair", new_ref((PyObject *)&pair_type));
	PyModule_AddObject(module, "Chain", new_ref((PyObject *)&chain_type));
	return module;
}
