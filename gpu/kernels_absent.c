/* SPDX-License-Identifier: Apache-2.0 */
/* In place of the kernels, where there is no nvcc to compile them. */
extern const unsigned char kernels_image[];
extern const unsigned kernels_image_len;

const unsigned char kernels_image[1];
const unsigned kernels_image_len;
